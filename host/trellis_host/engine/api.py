"""What the engine offers to the rest of the host, and what it asks of those who supply imports.

The laws of this file: nobody outside `engine/` sees wasmtime. A host function gets the invocation's context
(whatever object the caller of the component supplied), then its arguments as Python values (`wit.values`);
it returns a Python value of the declared result type. It never touches the sandbox's memory. A resource is
handed to a host function as the very object that was once returned for it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import InterfaceType

__all__ = [
    "HostFunction",
    "HostInterface",
    "HostResource",
    "ImportResolver",
    "Limits",
    "LoadPhase",
    "LoadProgress",
    "waiting",
]


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A function that a component may import.

    `call(context, *args)`. `waits` False: it returns its value at once. `waits` True: it returns its value, or
    an awaitable of it; the component's fiber is suspended meanwhile, the event loop is not. The awaitable belongs
    to the invocation and is cancelled with it.
    A raised `TrellisError` (or any exception) ends the invocation with that error; it is not a WIT error.
    """

    call: Callable[..., Any]
    waits: bool = False


def waiting(call: Callable[..., Any]) -> HostFunction:
    """A host function that may return an awaitable."""
    return HostFunction(call, waits=True)


@dataclass(frozen=True, slots=True, eq=False)
class HostResource:
    """A resource type of the host. Identity is type identity: use the same object under every name of the type.

    `drop(context, value)` runs when the component drops its owned handle, and for what is left at the end of
    the invocation.
    """

    name: str
    drop: Callable[[Any, Any], None] | None = None


@dataclass(frozen=True, slots=True)
class HostInterface:
    """The host's side of one imported interface. `functions` are keyed by WIT name, resources by WIT name too."""

    name: InterfaceName
    functions: Mapping[str, HostFunction]
    resources: Mapping[str, HostResource] = field(default_factory=dict)


class ImportResolver(Protocol):
    """Finds the implementation of an import; None where there is none (the engine then names all that miss)."""

    def __call__(self, wanted: InterfaceName, type: InterfaceType) -> HostInterface | None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one invocation. The deadline is given per call."""

    memory_bytes: int = 256 * 1024 * 1024
    """Size of each linear memory (a component nearly always has one); `memory.grow` beyond answers -1."""
    resources: int = 10_000
    """Host resources alive at one time."""


class LoadPhase(enum.Enum):
    """Where the loading of a component is."""

    READING = "reading"
    COMPILING = "compiling"
    CACHED = "cached"
    READY = "ready"


LoadProgress = Callable[[LoadPhase], None]
