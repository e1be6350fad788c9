"""Labels of a host: put, del (lattice-protocol 1.4). They live as long as the host does."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trellis_lattice.control.operation import Argument, ControlOperation
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.wire import WireModel

__all__ = ["DEL", "PUT", "Label", "LabelKey", "check_label"]

_Key = Annotated[str, Field(min_length=1, max_length=1024)]


class Label(WireModel):
    key: _Key
    value: Annotated[str, Field(max_length=4096)]


class LabelKey(WireModel):
    key: _Key


def check_label(key: str) -> None:
    """Raises `RequestInvalid` for labels that say what the host is."""
    if key.lower().startswith("hostcore."):
        raise RequestInvalid("hostcore.* labels cannot be set dynamically", key=key)


PUT: ControlOperation[Label, None] = ControlOperation("label", "put", Label, None, Argument.HOST)
DEL: ControlOperation[LabelKey, None] = ControlOperation("label", "del", LabelKey, None, Argument.HOST)
