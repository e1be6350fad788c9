"""Links: put, del, get (lattice-protocol 1.7)."""

from __future__ import annotations

from trellis_lattice.control.operation import Answerers, ControlOperation
from trellis_lattice.links import Link, LinkId

__all__ = ["DEL", "GET", "PUT"]

PUT: ControlOperation[Link, None] = ControlOperation("link", "put", Link, None, answerers=Answerers.ANY)
DEL: ControlOperation[LinkId, None] = ControlOperation("link", "del", LinkId, None, answerers=Answerers.ANY)
GET: ControlOperation[None, list[Link]] = ControlOperation("link", "get", None, list[Link], answerers=Answerers.ANY)
