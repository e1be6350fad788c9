"""What planning says: the commands, why each host was taken or left, and what does not hold yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trellis_wadm.planner.commands import Command, command_key
from trellis_wadm.planner.world import Owned, SinceKey

__all__ = [
    "ApplicationStatus",
    "Condition",
    "HostVerdict",
    "Placement",
    "Plan",
    "ScalerStatus",
    "Stage",
    "StatusType",
    "Step",
]


class StatusType(StrEnum):
    """v1's states of a scaler and of an application (lattice-protocol 7.9)."""

    DEPLOYED = "deployed"
    RECONCILING = "reconciling"
    FAILED = "failed"
    UNDEPLOYED = "undeployed"
    WAITING = "waiting"
    UNHEALTHY = "unhealthy"


class Stage(StrEnum):
    """Commands go out stage by stage, in this order; within one stage in any order."""

    CONFIG = "config"
    CLEAR = "clear"
    """Removals that make room: a link in the way, a provider to be restarted, a port to be freed."""
    LINK = "link"
    START = "start"
    STOP = "stop"
    UNLINK = "unlink"
    FORGET = "forget"
    PREPARE = "prepare"
    """Work ahead: nothing waits for it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a plan. `needs` are keys of earlier commands without which it makes no sense."""

    stage: Stage
    command: Command
    reason: str
    app: str | None = None
    scaler: str | None = None
    needs: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        return command_key(self.command)


@dataclass(frozen=True, slots=True)
class HostVerdict:
    """Whether a host may take a workload, and why not: `code` for machines, `reason` for people.

    `rule` is what it fails, as the manifest says it: `zone=eu` for a label; empty where nothing was asked for.
    """

    host: str
    accepted: bool
    code: str = "accepted"
    reason: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """How one spread of a scaler is placed: what it wanted, what each host gets, what was decided on each host."""

    scaler: str
    app: str
    workload: str
    spread: str
    wanted: int
    placed: Mapping[str, int]
    verdicts: tuple[HostVerdict, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that does not hold: why (`reason` is a stable code), where, and since when."""

    reason: str
    message: str
    host: str | None = None
    since: float = 0.0
    fatal: bool = False
    """Nothing will be done about it before somebody changes something."""
    until: float | None = None
    """When it is tried again; None if that is not known."""

    def to_json(self) -> dict[str, Any]:
        return {"reason": self.reason, "message": self.message, "host": self.host, "since": self.since}


@dataclass(frozen=True, slots=True)
class ScalerStatus:
    id: str
    kind: str
    name: str
    type: StatusType
    message: str = ""
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplicationStatus:
    name: str
    version: str
    type: StatusType
    message: str = ""
    scalers: tuple[ScalerStatus, ...] = ()

    @property
    def conditions(self) -> list[Condition]:
        return [condition for scaler in self.scalers for condition in scaler.conditions]


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one pass.

    `steps` are to be carried out now, in order of their stages. `wanted` has also those that are held back
    (in progress, backing off, failed): the keys of attempts worth remembering. `owned` is what applications
    will have brought into the lattice once the steps are done; `wake_at` when to plan again at the latest.
    """

    steps: tuple[Step, ...] = ()
    wanted: Mapping[str, Command] = field(default_factory=dict)
    applications: Mapping[str, ApplicationStatus] = field(default_factory=dict)
    placements: tuple[Placement, ...] = ()
    owned: Owned = field(default_factory=Owned)
    since: Mapping[SinceKey, float] = field(default_factory=dict)
    wake_at: float | None = None

    @property
    def commands(self) -> tuple[Command, ...]:
        return tuple(step.command for step in self.steps)

    @property
    def changes(self) -> tuple[Command, ...]:
        """The commands that change something; what is only prepared is left out."""
        return tuple(step.command for step in self.steps if step.stage is not Stage.PREPARE)

    def stages(self) -> list[tuple[Stage, list[Step]]]:
        """The steps by stage, in the order in which stages are carried out; empty stages left out."""
        grouped = [(stage, [step for step in self.steps if step.stage is stage]) for stage in Stage]
        return [(stage, steps) for stage, steps in grouped if steps]
