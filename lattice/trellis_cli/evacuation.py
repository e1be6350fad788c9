"""What leaves a host that drains, where to, and what stays: looked ahead by the scheduler's own rules, then watched.

The laws of this file: the scheduler moves, whoever asks only watches; nothing is called moved before it runs elsewhere
or ran nowhere else to begin with; what stays is told with its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from trellis_cli.explaining import look
from trellis_cli.workloads import host_name, listed
from trellis_lattice.errors import DeadlineExceeded, NotFound, Unavailable
from trellis_wadm import naming
from trellis_wadm.foresight import after, foresee
from trellis_wadm.inventory import DRAIN_LABEL
from trellis_wadm.planner import Observed, Plan
from trellis_wadm.planner.planning import DEFAULT_POLICY
from trellis_wadm.wishes import Wishes

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_lattice.control.host import ComponentDescription, HostInfo, HostInventory, ProviderDescription
    from trellis_wadm.observe import Sight

__all__ = ["Evacuation", "Move", "Stay", "evacuate", "foretell"]

_LOOK = 0.25
"""Seconds between two looks at the hosts."""
_JUDGE = 2.0
"""Seconds after which it is asked again why something stays."""
_BY_HAND = "it was started by hand, and nothing moves it"


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """A workload that leaves: to those hosts (friendly names); to none if nobody needs it any more."""

    kind: str
    id: str
    to: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.id} → {listed(self.to) if self.to else 'nowhere: no other host runs it'}"


@dataclass(frozen=True, slots=True, order=True)
class Stay:
    """A workload that nobody moves, and why."""

    kind: str
    id: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id} stays: {self.reason}"


@dataclass(slots=True)
class Evacuation:
    """How far it is."""

    moved: list[Move] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    in_flight: int = 0


def foretell(sight: Sight, host_id: str) -> tuple[list[Move], list[Stay]]:
    """What a drain of this host would do, by the scheduler's rules. Pure. Raises `NotFound`."""
    observed, names = sight.observed, sight.host_names
    host = observed.hosts.get(host_id)
    if host is None:
        raise NotFound(f"Host {host_id} is not in the lattice.", remedy="List: trellis get hosts")
    hosts = {**observed.hosts, host_id: replace(host, draining=True)}
    before = replace(observed, hosts=hosts)
    found = foresee(Wishes().of(sight.applications), before, 0.0, DEFAULT_POLICY)
    end = before
    for each in found.passes:
        end = after(end, each)
    moves: list[Move] = []
    stays: list[Stay] = []
    for kind, id, mine in sorted(
        [("component", c.id, _managed(c.annotations)) for c in host.components.values()]
        + [("provider", p.id, _managed(p.annotations)) for p in host.providers.values()]
    ):
        left = end.hosts[host_id]
        if not mine:
            stays.append(Stay(kind, id, _BY_HAND))
        elif id in (left.components if kind == "component" else left.providers):
            stays.append(Stay(kind, id, _why(found.last, id, host_id)))
        else:
            moves.append(Move(kind, id, tuple(sorted(names.get(on, on) for on in _places(end, kind, id)))))
    return moves, stays


def _managed(annotations: Mapping[str, str] | None) -> bool:
    return (annotations or {}).get(naming.MANAGED_BY_ANNOTATION) == naming.MANAGER


def _places(observed: Observed, kind: str, id: str) -> list[str]:
    return [
        on for on, host in observed.hosts.items() if id in (host.components if kind == "component" else host.providers)
    ]


def _why(last: Plan, id: str, host_id: str) -> str:
    """Why what is placed nowhere else is not."""
    reasons: Counter[str] = Counter()
    for placement in last.placements:
        if placement.workload == id:
            reasons.update(v.reason for v in placement.verdicts if not v.accepted and v.host != host_id)
    if not reasons:
        return "no other host may run it"
    return "no other host may run it (" + "; ".join(f"{n}: {reason}" for reason, n in reasons.most_common(4)) + ")"


async def evacuate(lattice: Lattice, host: HostInfo, timeout: float, say: Callable[[str], None]) -> Evacuation:
    """Has a host drained, and watches until all that is moved has been and nothing is in flight. `timeout` in seconds.

    Raises `DeadlineExceeded` with what is left.
    """
    loop = asyncio.get_running_loop()
    there = _pieces(await lattice.client.inventory(host.id, timeout=lattice.timeout))
    await lattice.client.put_label(host.id, DRAIN_LABEL, "true", timeout=lattice.timeout)
    until, judged = loop.time() + timeout, -_JUDGE
    found = Evacuation()
    while True:
        here, others = await _inventories(lattice, host.id)
        now_there = _pieces(here)
        for kind, id in sorted(there.keys() - now_there.keys()):
            on = tuple(sorted(host_name(each) for each in others if id in {item.id for item in _items(each)}))
            found.moved.append(Move(kind, id, on))
            say(str(found.moved[-1]))
        there, found.in_flight = now_there, (here.in_flight or 0) if here is not None else 0
        if not there and not found.in_flight:
            return found
        if there and loop.time() - judged >= _JUDGE:
            judged = loop.time()
            _, stays = foretell(await look(lattice, lattice.timeout), host.id)
            if {(each.kind, each.id) for each in stays} >= there.keys():
                found.stays = [each for each in stays if (each.kind, each.id) in there]
                return found
        if loop.time() >= until:
            raise _too_late(host, timeout, there, found.in_flight)
        await asyncio.sleep(_LOOK)


async def _inventories(lattice: Lattice, host_id: str) -> tuple[HostInventory | None, list[HostInventory]]:
    """Of the host (None: it is gone), and of the others."""
    found = await lattice.client.inventories(timeout=lattice.timeout)
    here = next((each for each in found if each.host_id == host_id), None)
    if here is None:
        try:
            here = await lattice.client.inventory(host_id, timeout=lattice.timeout)
        except Unavailable:
            here = None
    return here, [each for each in found if each.host_id != host_id]


def _items(inventory: HostInventory) -> tuple[ComponentDescription | ProviderDescription, ...]:
    return (*inventory.components, *inventory.providers)


def _pieces(inventory: HostInventory | None) -> dict[tuple[str, str], bool]:
    """What runs on a host, by kind and id: whether a manifest manages it."""
    if inventory is None:
        return {}
    components = {("component", each.id): _managed(each.annotations) for each in inventory.components}
    return components | {("provider", each.id): _managed(each.annotations) for each in inventory.providers}


def _too_late(host: HostInfo, timeout: float, left: Mapping[tuple[str, str], bool], in_flight: int) -> DeadlineExceeded:
    what = [f"{kind} {id}" for kind, id in left] + ([f"{in_flight} calls in flight"] if in_flight else [])
    return DeadlineExceeded(
        f"Host {host_name(host)} is not empty after {timeout:g} s: {listed(what)}.",
        remedy="It goes on draining: run the command again to watch, or `trellis uncordon` to take it back.",
        host=host.id,
    )
