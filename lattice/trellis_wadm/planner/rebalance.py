"""Hosts that join take their share: workloads whose policy says `even` move from the fullest hosts to the emptiest.

The laws of this file: only what has arrived where it belongs may move again; a move leaves the fleet more even than
it was, so that moving ends; what the beats say about load and memory moves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.result import Placement
from trellis_wadm.planner.view import View

__all__ = ["Placed", "rebalance"]

Placed = tuple[WorkloadScaler, tuple[Placement, ...]]


def rebalance(placed: Sequence[Placed], view: View) -> list[Placed]:
    """The same placements, after the moves that this pass may begin."""
    if not any(_is_even(scaler) for scaler, _ in placed):
        return list(placed)
    loads = _loads(placed, view)
    emptiest = min((loads[host.id] for host in view.hosts if host.live), default=0)
    found: list[Placed] = []
    for scaler, placements in placed:
        if _is_even(scaler) and _has_arrived(scaler, placements, view):
            placements = _leveled(scaler, placements, loads, emptiest, view)
        found.append((scaler, placements))
    return found


def _is_even(scaler: WorkloadScaler) -> bool:
    return scaler.policy.even and not scaler.daemon


def _loads(placed: Sequence[Placed], view: View) -> Counter[str]:
    """Workloads of each host once everything is where it is placed."""
    wanted = {scaler.workload for scaler, _ in placed}
    loads: Counter[str] = Counter()
    for host in view.hosts:
        loads[host.id] = sum(1 for id in chain(host.components, host.providers) if id not in wanted)
    for _, placements in placed:
        loads.update(_hosts(placements))
    return loads


def _hosts(placements: Iterable[Placement]) -> set[str]:
    return {host for placement in placements for host in placement.placed}


def _has_arrived(scaler: WorkloadScaler, placements: Sequence[Placement], view: View) -> bool:
    """Whether it runs where it is placed and nowhere else, one spread on each host."""
    id = scaler.workload
    running = view.providers(id) if scaler.provider else view.components(id)
    expected = view.expected_providers(id) if scaler.provider else view.expected_components(id)
    held = _hosts(placements)
    return running.keys() == held == expected.keys() and sum(len(p.placed) for p in placements) == len(held)


def _leveled(
    scaler: WorkloadScaler, placements: tuple[Placement, ...], loads: Counter[str], emptiest: int, view: View
) -> tuple[Placement, ...]:
    """Moves whole places, at most `max_moves` of them, as long as each makes the fleet more even."""
    moves = scaler.policy.max_moves
    found = list(placements)
    for i, spread in enumerate(scaler.spreads):
        open_hosts = view.group(spread.requirements, view.sides.get(scaler.workload)).open
        while moves > 0:
            givers = [host for host in found[i].placed if host in open_hosts]
            giver = max(givers, key=lambda host: (loads[host], host), default=None)
            if giver is None or loads[giver] - emptiest < 2:
                break
            free = open_hosts - _hosts(found)
            taker = min(free, key=lambda host: (loads[host], host), default=None)
            if taker is None or loads[giver] - loads[taker] < 2:
                break
            kept = {host: count for host, count in found[i].placed.items() if host != giver}
            found[i] = replace(found[i], placed={**kept, taker: found[i].placed[giver]})
            loads[giver] -= 1
            loads[taker] += 1
            moves -= 1
    return tuple(found)
