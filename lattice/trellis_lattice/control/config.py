"""Named configuration: put, get, del (lattice-protocol 1.8). A missing name is a success without data."""

from __future__ import annotations

from trellis_lattice.config import ConfigMap
from trellis_lattice.control.operation import Answerers, Argument, ControlOperation
from trellis_lattice.wire import Values

__all__ = ["DEL", "GET", "NOT_FOUND", "PUT"]

NOT_FOUND = "Configuration not found"

PUT: ControlOperation[ConfigMap, None] = ControlOperation(
    "config",
    "put",
    Values,
    None,
    Argument.NAME,
    Answerers.ANY,
    undecodable="config data should be a map of string -> string",
)
GET: ControlOperation[None, ConfigMap] = ControlOperation("config", "get", None, Values, Argument.NAME, Answerers.ANY)
DEL: ControlOperation[None, None] = ControlOperation("config", "del", None, None, Argument.NAME, Answerers.ANY)
