"""The trait `spreadscaler`: a number, split over groups of hosts by weight.

A component's number counts concurrent instances, summed over hosts; one host may hold any part of it. A
provider's number counts hosts. Work stays where it runs; what is missing goes to the emptiest host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from trellis_wadm import naming
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.eligibility import Candidates
from trellis_wadm.planner.result import Placement
from trellis_wadm.planner.spread import compute_spread, distribute, even_out, match_hosts
from trellis_wadm.planner.view import View

__all__ = ["place"]


def place(scaler: WorkloadScaler, view: View) -> tuple[Placement, ...]:
    """Where each spread's share should run."""
    shares = compute_spread(scaler.instances, [spread.weight for spread in scaler.spreads])
    side = view.sides.get(scaler.workload)
    groups = [view.group(spread.requirements, side) for spread in scaler.spreads]
    placed = _providers(scaler, shares, groups, view) if scaler.provider else _components(scaler, shares, groups, view)
    return tuple(
        Placement(scaler.id, scaler.app, scaler.workload, spread.name, share, counts, group.verdicts)
        for spread, share, counts, group in zip(scaler.spreads, shares, placed, groups, strict=True)
    )


def _providers(
    scaler: WorkloadScaler, shares: Sequence[int], groups: Sequence[Candidates], view: View
) -> list[dict[str, int]]:
    running = view.expected_providers(scaler.workload).keys()
    # The best few of each group are enough: whatever the others take, one of these is left.
    most = sum(shares)
    fresh = [view.best(group, most, running) for group in groups]
    eligible = [(group.keeping & running) | set(best) for group, best in zip(groups, fresh, strict=True)]
    order = sorted(frozenset().union(*eligible) & running, key=_quietest(view))
    order += sorted({host for best in fresh for host in best}, key=view.rank)
    chosen = match_hosts(shares, eligible, order)
    return [{host: 1 for host, spread in chosen.items() if spread == i} for i in range(len(shares))]


def _components(
    scaler: WorkloadScaler, shares: Sequence[int], groups: Sequence[Candidates], view: View
) -> list[dict[str, int]]:
    current = _current(scaler, groups, view)
    placed: list[dict[str, int]] = []
    for i, (share, group) in enumerate(zip(shares, groups, strict=True)):
        # What other spreads of this component hold on a host comes first: disjoint spreads should stay disjoint.
        others: Counter[str] = Counter()
        for counts in (*placed, *current[i + 1 :]):
            others.update(counts)
        order = _order(scaler.image, group, share - sum(current[i].values()), current[i], others, view)
        # While instances move there are more than asked for; those that go are not those of a cordoned host.
        kept = {host: n for host, n in current[i].items() if host not in group.open} if scaler.policy.even else {}
        if sum(kept.values()) > share:
            kept = {}
        rest = {host: n for host, n in current[i].items() if host not in kept}
        counts = {**kept, **distribute(share - sum(kept.values()), rest, order)}
        if scaler.policy.even and counts == current[i]:
            counts = _even(counts, group, others, scaler.policy.max_moves, view)
        placed.append(counts)
    return placed


def _quietest(view: View) -> Callable[[str], tuple[int, str]]:
    """Of hosts that run something already, those keep it that run the least."""
    return lambda host: (view.load[host], host)


def _order(
    image: str, group: Candidates, missing: int, current: Mapping[str, int], others: Mapping[str, int], view: View
) -> list[str]:
    """Open hosts, those first that should get more; only as many as matter."""
    if missing <= 0:
        return sorted((host for host in current if host in group.open), key=_quietest(view))
    unused = view.best_for(image, group, missing, current.keys() | others.keys())
    return unused if len(unused) == missing else _all(group, others, view)


def _all(group: Candidates, others: Mapping[str, int], view: View) -> list[str]:
    return sorted(group.open, key=lambda host: (others.get(host, 0), view.rank(host)))


def _even(
    counts: dict[str, int], group: Candidates, others: Mapping[str, int], moves: int, view: View
) -> dict[str, int]:
    """One step towards an even spread, if it is not even yet; hosts that take nothing new are left alone."""
    levels = [counts[host] for host in counts if host in group.open]
    if not levels or max(levels) <= 1 or (len(levels) == len(group.open) and max(levels) - min(levels) <= 1):
        return counts
    return even_out(counts, _all(group, others, view), moves)


def _current(scaler: WorkloadScaler, groups: Sequence[Candidates], view: View) -> list[dict[str, int]]:
    """Instances of each spread on each host that may keep them."""
    current: list[dict[str, int]] = [{} for _ in groups]
    names = [spread.name for spread in scaler.spreads]
    for host, running in sorted(view.expected_components(scaler.workload).items()):
        home = next((i for i, group in enumerate(groups) if host in group.keeping), None)
        if home is None:
            continue
        parts = read_spread_annotation(running.annotations, running.max_instances, names)
        for name, count in parts.items() if parts is not None else [(names[home], running.max_instances)]:
            i = names.index(name)
            if host in groups[i].keeping:
                current[i][host] = count
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
