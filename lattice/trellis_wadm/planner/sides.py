"""Hosts of ours and hosts of wasmCloud v1 in one lattice: which workloads have to stay on one kind of them.

A call over a link passes between two hosts of the same kind only, so whatever is linked, directly or through others,
runs on one kind. What runs already decides which, as long as the rules of all of them can be met there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from trellis_wadm.planner.desired import Desired, WorkloadScaler
from trellis_wadm.planner.eligibility import Side
from trellis_wadm.planner.view import View

__all__ = ["sides_of"]


def sides_of(desired: Desired, view: View) -> dict[str, Side]:
    """The side of each workload that is linked to another; empty where all hosts are of one kind."""
    if len({host.ours for host in view.hosts if host.live and host.known}) < 2:
        return {}
    workloads = {scaler.workload: scaler for scaler in desired.all_workloads()}
    partners: dict[str, list[str]] = defaultdict(list)
    for scaler in desired.all_links():
        source, target = scaler.link.source_id, scaler.link.target
        if scaler.problem is None and source != target and source in workloads and target in workloads:
            partners[source].append(target)
            partners[target].append(source)
    sides: dict[str, Side] = {}
    for workload in sorted(partners):
        if workload in sides:
            continue
        members = _reachable(workload, partners)
        ours = _choose([workloads[member] for member in members], view)
        sides.update(dict.fromkeys(members, Side(ours)))
    return sides


def _reachable(start: str, partners: Mapping[str, Sequence[str]]) -> list[str]:
    found, todo = {start}, [start]
    while todo:
        new = set(partners[todo.pop()]) - found
        found |= new
        todo += new
    return sorted(found)


def _choose(members: Sequence[WorkloadScaler], view: View) -> bool:
    """Ours or not: where the rules can be met, then where more of it runs, then ours."""
    running = {True: 0, False: 0}
    for scaler in members:
        id = scaler.workload
        expected = view.expected_providers(id) if scaler.provider else view.expected_components(id)
        for host in expected:
            running[view.observed.hosts[host].ours] += 1
    possible = [ours for ours in (True, False) if all(_fits(scaler, ours, view) for scaler in members)]
    return max(possible or (True, False), key=lambda ours: (running[ours], ours))


def _fits(scaler: WorkloadScaler, ours: bool, view: View) -> bool:
    hosts = view.observed.hosts
    groups = (view.group(spread.requirements).keeping for spread in scaler.spreads)
    return all(any(hosts[host].ours == ours for host in group) for group in groups)
