"""What the core of the reconciler asks its shell to do. Plain data; those that do not tell are answered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from trellis_wadm.ledger import Ledger
from trellis_wadm.planner.result import Plan, Step

__all__ = ["Action", "AskInventory", "FindHosts", "ReadLedger", "SendCommand", "Tell", "TellStaying", "WriteLedger"]


@dataclass(frozen=True, slots=True)
class ReadLedger:
    """Read what earlier leaders noted; answered by `ledger_read` or `ledger_failed`."""


@dataclass(frozen=True, slots=True)
class FindHosts:
    """Ask who is there, until all of `expect` have answered; answered by `hosts_found`."""

    expect: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AskInventory:
    """Ask a host what it runs; answered by `inventory_came` or `inventory_missing` with the same `covers`."""

    host: str
    covers: int


@dataclass(frozen=True, slots=True)
class WriteLedger:
    """Note what will be made before it is made; answered by `ledger_written` or `ledger_failed`."""

    ledger: Ledger


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Carry out a step if the lease is held at that moment; answered by `command_ended`."""

    step: Step


@dataclass(frozen=True, slots=True)
class Tell:
    """Publish the statuses of a plan. A later one makes an earlier one that waits pointless."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class TellStaying:
    """Tell a host that leaves which of its workloads nobody will move; the next pass says it again."""

    host: str
    workloads: frozenset[str]


Action: TypeAlias = ReadLedger | FindHosts | AskInventory | WriteLedger | SendCommand | Tell | TellStaying
