"""What no plan will move off a host that leaves, so that it need not wait for it. Pure."""

from __future__ import annotations

from collections import defaultdict

from trellis_wadm import backoff, naming
from trellis_wadm.planner.commands import (
    Command,
    ScaleComponent,
    StartProvider,
    StopProvider,
    command_host,
    command_key,
)
from trellis_wadm.planner.result import Placement, Plan
from trellis_wadm.planner.world import Host, Observed, RunningComponent, RunningProvider

__all__ = ["staying"]


def staying(found: Plan, observed: Observed, host: str, now: float, policy: backoff.Policy) -> frozenset[str]:
    """Ids of the managed workloads of a leaving host that `found`, the plan for `observed`, leaves there.

    Those are workloads that others may not take, or have failed to start for good. In doubt something is not among
    them: as long as it may be moved the host waits, and it does so for a bounded time only.
    """
    starts: dict[str, list[Command]] = defaultdict(list)
    moves: set[str] = set()
    for command in found.wanted.values():
        if isinstance(command, ScaleComponent | StartProvider | StopProvider):
            ends = isinstance(command, StopProvider) or (isinstance(command, ScaleComponent) and not command.count)
            if not ends:
                starts[command.id].append(command)
            elif command_host(command) == host:
                moves.add(command.id)
    placements: dict[str, list[Placement]] = defaultdict(list)
    for placement in found.placements:
        placements[placement.workload].append(placement)

    def hopeless(command: Command) -> bool:
        patience = backoff.policy_for(command, policy)
        attempt = observed.attempts.get(command_key(command))
        return isinstance(backoff.judge(attempt, command, now, patience), backoff.Failed)

    def stays(id: str) -> bool:
        if id in moves:
            return False
        if starts[id]:
            return all(hopeless(command) for command in starts[id])
        return not placements[id] or any(_short(placement) for placement in placements[id])

    return frozenset(id for id in _managed(observed.hosts[host]) if stays(id))


def _managed(host: Host) -> list[str]:
    running: list[RunningComponent | RunningProvider] = [*host.components.values(), *host.providers.values()]
    return [each.id for each in running if naming.MANAGED_BY_ANNOTATION in each.annotations]


def _short(placement: Placement) -> bool:
    """Whether too few hosts may run it. Of one that is not known yet nobody can say."""
    missing = sum(placement.placed.values()) < placement.wanted
    return missing and not any(verdict.code == "unknown" for verdict in placement.verdicts)
