"""Work ahead: hosts that may have to run a component soon fetch and compile its image before they are asked to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trellis_wadm.planner.commands import PrepareComponent
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.result import Placement, Stage, Step
from trellis_wadm.planner.view import View

__all__ = ["SPARES", "prepare"]

SPARES = 8
"""Hosts that prepare one component, at most."""


def prepare(scaler: WorkloadScaler, placements: Sequence[Placement], view: View) -> list[Step]:
    """What the hosts that would be chosen next should prepare; before them, those that wait for a new image."""
    if scaler.provider or not scaler.instances:
        return []
    running = view.components(scaler.workload)
    placed = {host for placement in placements for host in placement.placed}
    behind = sorted(host for host in placed if host in running and running[host].image != scaler.image)
    ready = view.prepared(scaler.image) - placed
    spares: list[str] = []
    distinct = {tuple(sorted(spread.requirements.items())): spread for spread in scaler.spreads}
    for spread in distinct.values():
        group = view.group(spread.requirements, view.sides.get(scaler.workload))
        missing = max(1, SPARES // len(distinct)) - len(ready & group.open)
        spares += view.best(group, missing, placed | ready | set(spares))
    return [
        Step(Stage.PREPARE, PrepareComponent(host, scaler.image), "it may have to run it", scaler.app, scaler.id)
        for host in _first(behind, spares)
        if view.observed.hosts[host].ours and scaler.image not in view.observed.hosts[host].prepared
    ]


def _first(*groups: Iterable[str]) -> list[str]:
    return [host for group in groups for host in group][:SPARES]
