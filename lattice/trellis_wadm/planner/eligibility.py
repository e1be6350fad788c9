"""Which hosts may run something, and the reason for each that may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trellis_wadm.planner.result import HostVerdict
from trellis_wadm.planner.world import Host

__all__ = ["Candidates", "candidates", "judge_host"]


def judge_host(host: Host, requirements: Mapping[str, str]) -> HostVerdict:
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


def candidates(hosts: Iterable[Host], requirements: Mapping[str, str]) -> Candidates:
    """Judges every host, in the given order."""
    verdicts = tuple(judge_host(host, requirements) for host in hosts)
    accepted = frozenset(verdict.host for verdict in verdicts if verdict.accepted)
    cordoned = frozenset(verdict.host for verdict in verdicts if verdict.code == "cordoned")
    return Candidates(verdicts, accepted, accepted | cordoned)
