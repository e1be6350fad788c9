"""The trait `daemonscaler`: the same on every host that fits, also on those that join later."""

from __future__ import annotations

from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.result import Placement
from trellis_wadm.planner.view import View

__all__ = ["place"]


def place(scaler: WorkloadScaler, view: View) -> tuple[Placement, ...]:
    """`instances` of a component, or one provider, on each fitting host; a host belongs to its first spread."""
    taken: set[str] = set()
    placements: list[Placement] = []
    each = 1 if scaler.provider else scaler.instances
    running = (view.providers if scaler.provider else view.components)(scaler.workload).keys()
    for spread in scaler.spreads:
        group = view.group(spread.requirements, view.sides.get(scaler.workload))
        chosen = sorted((group.open | (group.keeping & running)) - taken)
        taken.update(chosen)
        placed = {host: each for host in chosen if each > 0}
        wanted = each * max(1, len(chosen))
        placements.append(
            Placement(scaler.id, scaler.app, scaler.workload, spread.name, wanted, placed, group.verdicts)
        )
    return tuple(placements)
