"""Which hosts may run something, and the reason for each that may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trellis_wadm.planner.result import HostVerdict
from trellis_wadm.planner.world import Host

__all__ = ["Candidates", "Side", "candidates", "judge_host"]


@dataclass(frozen=True, slots=True)
class Side:
    """Hosts of one kind: calls over a link pass between two hosts of ours, or between two of v1, never across."""

    ours: bool

    @property
    def reason(self) -> str:
        """Why a host of the other kind is left out."""
        kinds = ("wasmCloud v1", "Trellis")
        it, others = kinds[not self.ours], kinds[self.ours]
        return f"it runs {it}; what this is linked with belongs on hosts that run {others}, and calls do not cross"


def judge_host(host: Host, requirements: Mapping[str, str], side: Side | None = None) -> HostVerdict:
    """Whether a host may take new work that has these requirements."""

    def rejected(code: str, reason: str, rule: str = "") -> HostVerdict:
        return HostVerdict(host.id, False, code, reason, rule)

    if not host.live:
        return rejected("silent", "no sign of life")
    if not host.known:
        return rejected("unknown", "its inventory is not known yet")
    for key, wanted in sorted(requirements.items()):
        given = host.labels.get(key)
        if given is None:
            return rejected("label", f"it has no label {key}, but {key}={wanted} is required", f"{key}={wanted}")
        if given != wanted:
            return rejected("label", f"its label is {key}={given}, but {key}={wanted} is required", f"{key}={wanted}")
    if side is not None and host.ours != side.ours:
        return rejected("foreign", side.reason)
    if host.draining:
        return rejected("draining", "it is draining")
    if host.cordoned:
        return rejected("cordoned", "it is cordoned")
    return HostVerdict(host.id, True)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Hosts for one spread: `open` may take more, `keeping` may at least keep what they run."""

    verdicts: tuple[HostVerdict, ...]
    open: frozenset[str]
    keeping: frozenset[str]


def candidates(hosts: Iterable[Host], requirements: Mapping[str, str], side: Side | None = None) -> Candidates:
    """Judges every host, in the given order."""
    verdicts = tuple(judge_host(host, requirements, side) for host in hosts)
    accepted = frozenset(verdict.host for verdict in verdicts if verdict.accepted)
    cordoned = frozenset(verdict.host for verdict in verdicts if verdict.code == "cordoned")
    return Candidates(verdicts, accepted, accepted | cordoned)
