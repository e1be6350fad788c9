"""The trait `daemonscaler`: the same on every host that fits, also on those that join later."""

from __future__ import annotations

from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.eligibility import candidates
from trellis_wadm.planner.result import Placement
from trellis_wadm.planner.view import View

__all__ = ["place"]


def place(scaler: WorkloadScaler, view: View) -> tuple[Placement, ...]:
    """`instances` of a component, or one provider, on each fitting host; a host belongs to its first spread."""
    taken: set[str] = set()
    placements: list[Placement] = []
    each = 1 if scaler.provider else scaler.instances
    for spread in scaler.spreads:
        group = candidates(view.hosts, spread.requirements)
        chosen = sorted(_chosen(scaler, view, group.open, group.keeping) - taken)
        taken.update(chosen)
        placed = {host: each for host in chosen if each > 0}
        wanted = each * max(1, len(chosen))
        placements.append(
            Placement(scaler.id, scaler.app, scaler.workload, spread.name, wanted, placed, group.verdicts)
        )
    return tuple(placements)


def _chosen(scaler: WorkloadScaler, view: View, open: frozenset[str], keeping: frozenset[str]) -> set[str]:
    running = {
        host.id
        for host in view.hosts
        if host.id in keeping and scaler.workload in (host.providers if scaler.provider else host.components)
    }
    return running | open
