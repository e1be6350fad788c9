"""The trait `spreadscaler`: a number, split over groups of hosts by weight.

A component's number counts concurrent instances, summed over hosts; one host may hold any part of it. A
provider's number counts hosts. Work stays where it runs; what is missing goes to the emptiest host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trellis_wadm import naming
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.eligibility import Candidates, candidates
from trellis_wadm.planner.result import Placement
from trellis_wadm.planner.spread import compute_spread, distribute, match_hosts
from trellis_wadm.planner.view import View

__all__ = ["place"]


def place(scaler: WorkloadScaler, view: View) -> tuple[Placement, ...]:
    """Where each spread's share should run."""
    shares = compute_spread(scaler.instances, [spread.weight for spread in scaler.spreads])
    groups = [candidates(view.hosts, spread.requirements) for spread in scaler.spreads]
    placed = _providers(scaler, shares, groups, view) if scaler.provider else _components(scaler, shares, groups, view)
    return tuple(
        Placement(scaler.id, scaler.app, scaler.workload, spread.name, share, counts, group.verdicts)
        for spread, share, counts, group in zip(scaler.spreads, shares, placed, groups, strict=True)
    )


def _providers(
    scaler: WorkloadScaler, shares: Sequence[int], groups: Sequence[Candidates], view: View
) -> list[dict[str, int]]:
    running = {host.id for host in view.hosts if host.live and view.expected_provider(host, scaler.workload)}
    eligible = [(group.keeping & running) | group.open for group in groups]
    every = sorted(frozenset().union(*eligible), key=lambda host: (host not in running, view.load.get(host, 0), host))
    chosen = match_hosts(shares, eligible, every)
    return [{host: 1 for host, spread in chosen.items() if spread == i} for i in range(len(shares))]


def _components(
    scaler: WorkloadScaler, shares: Sequence[int], groups: Sequence[Candidates], view: View
) -> list[dict[str, int]]:
    current = _current(scaler, groups, view)
    placed: list[dict[str, int]] = []
    for i, (share, group) in enumerate(zip(shares, groups, strict=True)):
        # What other spreads of this component hold on a host comes first: disjoint spreads should stay disjoint.
        others = [*placed, *current[i + 1 :]]

        def preference(host: str, others: list[dict[str, int]] = others) -> tuple[int, int, str]:
            return sum(counts.get(host, 0) for counts in others), view.load.get(host, 0), host

        placed.append(distribute(share, current[i], sorted(group.open, key=preference)))
    return placed


def _current(scaler: WorkloadScaler, groups: Sequence[Candidates], view: View) -> list[dict[str, int]]:
    """Instances of each spread on each host that may keep them."""
    current: list[dict[str, int]] = [{} for _ in groups]
    names = [spread.name for spread in scaler.spreads]
    for host in view.hosts:
        running = view.expected_component(host, scaler.workload) if host.live else None
        if running is None:
            continue
        home = next((i for i, group in enumerate(groups) if host.id in group.keeping), None)
        if home is None:
            continue
        parts = read_spread_annotation(running.annotations, running.max_instances, names)
        for name, count in parts.items() if parts is not None else [(names[home], running.max_instances)]:
            i = names.index(name)
            if host.id in groups[i].keeping:
                current[i][host.id] = count
    return current


def read_spread_annotation(annotations: Mapping[str, str], count: int, names: Sequence[str]) -> dict[str, int] | None:
    """Which spreads the instances on a host belong to; None if they belong to none that we know."""
    text = annotations.get(naming.SPREAD_ANNOTATION, "")
    if text in names:
        return {text: count}
    parts: dict[str, int] = {}
    for item in text.split(","):
        name, _, number = item.rpartition("=")
        if name not in names or not number.isdecimal():
            return None
        parts[name] = min(int(number), count - sum(parts.values()))
    if (rest := count - sum(parts.values())) and parts:
        parts[next(iter(parts))] += rest
    return parts


def spread_annotation(parts: Mapping[str, int]) -> str:
    """The name of the spread, as v1 writes it; where one host serves several: `east=3,west=2`."""
    if len(parts) == 1:
        return next(iter(parts))
    return ",".join(f"{name}={count}" for name, count in parts.items())
