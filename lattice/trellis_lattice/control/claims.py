"""Claims of signed components and providers: get (lattice-protocol 1.9). Unsigned ones do not appear."""

from __future__ import annotations

from trellis_lattice.control.operation import Answerers, ControlOperation
from trellis_lattice.wire import StringMap

__all__ = ["GET"]

GET: ControlOperation[None, list[dict[str, str]]] = ControlOperation(
    "claims", "get", None, list[StringMap], answerers=Answerers.ANY
)
