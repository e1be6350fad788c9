"""Inventories that are larger than a NATS message: asked for in parts (docs/adr/0011). Pure.

The host keeps the JSON text of its inventory for a moment, under a name, and hands it out piece by piece, so that all
parts are of the same moment.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, ValidationError

from trellis_lattice.control.host import HostInventory
from trellis_lattice.control.operation import Argument, ControlOperation
from trellis_lattice.errors import PeerMisbehaved
from trellis_lattice.wire import WireModel

__all__ = ["MAX_INVENTORY", "MAX_PARTS", "PART", "InventoryPart", "PartRequest", "encoded", "joined", "room", "split"]

MAX_PARTS = 4096
MAX_INVENTORY = 64 * 1024 * 1024
"""Bytes that we take together."""
_LARGEST = 768 * 1024
"""Bytes of one part, however large a message may be."""
_HEAD = 1024
"""Bytes of a message that are not its data."""


class PartRequest(WireModel):
    """`snapshot` is what the first part was called; empty, with part 0: a new one."""

    snapshot: Annotated[str, Field(max_length=64)] = ""
    part: Annotated[int, Field(ge=0, lt=MAX_PARTS)] = 0


class InventoryPart(WireModel):
    """Part number `part` of `parts`: `data` is base64 of a piece of the inventory's JSON."""

    snapshot: Annotated[str, Field(min_length=1, max_length=64)]
    part: Annotated[int, Field(ge=0, lt=MAX_PARTS)]
    parts: Annotated[int, Field(ge=1, le=MAX_PARTS)]
    data: str

    def decoded(self) -> bytes:
        """Raises `PeerMisbehaved` if the data is no base64."""
        try:
            return base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise PeerMisbehaved(f"Part {self.part} of an inventory is not base64: {error}.") from None


PART: ControlOperation[PartRequest, InventoryPart] = ControlOperation(
    "host", "part", PartRequest, InventoryPart, Argument.HOST, empty=PartRequest
)


def room(max_payload: int) -> int:
    """How many bytes of an inventory fit a message of `max_payload` bytes."""
    return min(_LARGEST, max(1, (max_payload - _HEAD) * 3 // 4))


def split(payload: bytes, size: int) -> list[bytes]:
    """Pieces of at most `size` bytes; one at least."""
    return [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]


def encoded(piece: bytes) -> str:
    """`InventoryPart.data` for a piece."""
    return base64.b64encode(piece).decode()


def joined(pieces: Sequence[bytes], host_id: str) -> HostInventory:
    """The inventory. Raises `PeerMisbehaved` if the pieces are none."""
    try:
        return HostInventory.model_validate_json(b"".join(pieces))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PeerMisbehaved(
            f"The inventory of host {host_id} is malformed at {place or 'its root'}: {first['msg']}.", host=host_id
        ) from None
