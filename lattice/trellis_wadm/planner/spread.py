"""Arithmetic of placement: how many go to each spread, and how many of these to each host.

The laws of this file: nothing here loops over instances, since `instances` may be four billion; what runs
somewhere stays there as long as the numbers allow it; equal inputs give equal answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

__all__ = ["DEFAULT_WEIGHT", "compute_spread", "distribute", "even_out", "match_hosts"]

DEFAULT_WEIGHT = 100


def compute_spread(instances: int, weights: Sequence[int | None]) -> list[int]:
    """Instances for each spread, in the given order (lattice-protocol 7.6).

    Heavier spreads come first; each gets its share rounded down; what is left goes one by one from the first.
    """
    given = [DEFAULT_WEIGHT if weight is None else weight for weight in weights]
    total = sum(given)
    if total <= 0:
        return [0] * len(given)
    order = sorted(range(len(given)), key=lambda i: -given[i])
    shares = [instances * weight // total for weight in given]
    for i in order[: instances - sum(shares)]:
        shares[i] += 1
    return shares


def distribute(target: int, current: Mapping[str, int], open_hosts: Sequence[str]) -> dict[str, int]:
    """Instances for each host so that they sum up to `target`, moving as little as possible.

    `current` is what runs now on hosts that may keep it; `open_hosts` may take more, the preferred ones first.
    Growth fills the emptiest hosts, shrinking takes from the fullest; what is left over stays where least runs.
    The sum stays below `target` only where no host is open.
    """
    counts = {host: count for host, count in current.items() if count > 0}
    missing = target - sum(counts.values())
    if missing > 0 and open_hosts:
        _fill({host: counts.get(host, 0) for host in open_hosts}, missing, open_hosts, counts)
    elif missing < 0:
        place = {host: i for i, host in enumerate(open_hosts)}
        order = sorted(counts, key=lambda host: (counts[host], place.get(host, len(place)), host))
        _drain(counts, -missing, order)
    return {host: count for host, count in counts.items() if count > 0}


def _fill(levels: Mapping[str, int], amount: int, order: Sequence[str], counts: dict[str, int]) -> None:
    """Raises the lowest hosts to one level, like water, until `amount` is used up."""
    low, high = min(levels.values()), max(levels.values()) + amount
    while low < high:
        middle = (low + high + 1) // 2
        if sum(max(0, middle - count) for count in levels.values()) <= amount:
            low = middle
        else:
            high = middle - 1
    left = amount - sum(max(0, low - count) for count in levels.values())
    for host in order:
        count = max(levels[host], low)
        if left and count == low:
            count, left = count + 1, left - 1
        counts[host] = count


def _drain(counts: dict[str, int], amount: int, order: Sequence[str]) -> None:
    """Lowers the highest hosts to one level until `amount` is gone; the first hosts keep the remainder."""
    low, high = 0, max(counts.values())
    while low < high:
        middle = (low + high + 1) // 2
        if sum(max(0, count - middle) for count in counts.values()) >= amount:
            low = middle
        else:
            high = middle - 1
    surplus = sum(max(0, count - low) for count in counts.values()) - amount
    for host in order:
        if counts[host] > low:
            keep = 1 if surplus else 0
            counts[host], surplus = low + keep, surplus - keep


def even_out(current: Mapping[str, int], open_hosts: Sequence[str], moves: int) -> dict[str, int]:
    """The same instances, spread more evenly over the open hosts: at most `moves` hosts get more than they have.

    As few instances move as can be: whoever has more than its share keeps the rounded-up one.
    """
    counts = {host: count for host, count in current.items() if count > 0}
    levels = {host: counts.get(host, 0) for host in open_hosts}
    if not levels or max(levels.values()) - min(levels.values()) <= 1:
        return counts
    share, rest = divmod(sum(levels.values()), len(levels))
    order = sorted(levels, key=lambda host: -levels[host])
    target = {host: share + (i < rest) for i, host in enumerate(order)}
    takers = [host for host in open_hosts if target[host] > levels[host]][:moves]
    moved = sum(target[host] - levels[host] for host in takers)
    givers = {host: levels[host] for host in order if levels[host] > target[host]}
    _drain_to(givers, moved, target)
    counts.update(givers)
    counts.update({host: target[host] for host in takers})
    return {host: count for host, count in counts.items() if count > 0}


def _drain_to(levels: dict[str, int], amount: int, floor: Mapping[str, int]) -> None:
    """Takes `amount` from the highest hosts first, and from none more than down to its floor."""
    for host in sorted(levels, key=lambda host: (-levels[host], host)):
        taken = min(amount, levels[host] - floor[host])
        levels[host] -= taken
        amount -= taken


def match_hosts(slots: Sequence[int], eligible: Sequence[Set[str]], order: Sequence[str]) -> dict[str, int]:
    """Hosts to spreads, one place per host, as many places filled as can be (a bipartite matching).

    `slots[i]` places are wanted in spread i, which the hosts `eligible[i]` may fill. A host earlier in `order`
    is never left out for the sake of a later one, so put hosts first that should keep what they run.
    """
    chosen: dict[str, int] = {}
    used = [0] * len(slots)
    left = sum(slots)

    def place(host: str, seen: set[int]) -> bool:
        for i in range(len(slots)):
            if i in seen or host not in eligible[i] or slots[i] == 0:
                continue
            seen.add(i)
            if used[i] < slots[i]:
                chosen[host] = i
                used[i] += 1
                return True
            for other in [name for name, spread in chosen.items() if spread == i]:
                if place(other, seen):
                    used[i] -= 1
                    chosen[host] = i
                    used[i] += 1
                    return True
        return False

    for host in order:
        if not left:
            break
        left -= place(host, set())
    return chosen
