"""Asking for an inventory in parts: all of one moment, or anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from trellis_lattice.control import parts
from trellis_lattice.control.host import HostInventory
from trellis_lattice.control.parts import InventoryPart, PartRequest
from trellis_lattice.errors import NotFound, PeerMisbehaved

__all__ = ["gather_parts"]

ATTEMPTS = 3
"""How often it is begun anew if the host has dropped what it kept before all was fetched."""


async def gather_parts(ask: Callable[[PartRequest], Awaitable[InventoryPart | None]], host_id: str) -> HostInventory:
    """The inventory of a host that answers `ask`, each time within a deadline of the caller's.

    Raises `PeerMisbehaved` for parts that do not fit together, `NotFound` if the host drops them too soon, and
    whatever `ask` raises.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _gather(ask, host_id)
        except NotFound:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


async def _gather(ask: Callable[[PartRequest], Awaitable[InventoryPart | None]], host_id: str) -> HostInventory:
    first = await ask(PartRequest())
    if first is None or first.part != 0:
        raise PeerMisbehaved(f"Host {host_id} answered without the first part of its inventory.", host=host_id)
    pieces = [first.decoded()]
    for number in range(1, first.parts):
        part = await ask(PartRequest(snapshot=first.snapshot, part=number))
        if part is None or (part.snapshot, part.part, part.parts) != (first.snapshot, number, first.parts):
            raise PeerMisbehaved(f"Part {number} of the inventory of host {host_id} is of another one.", host=host_id)
        pieces.append(part.decoded())
        if sum(map(len, pieces)) > parts.MAX_INVENTORY:
            raise PeerMisbehaved(f"The inventory of host {host_id} is larger than we take.", host=host_id)
    return parts.joined(pieces, host_id)
