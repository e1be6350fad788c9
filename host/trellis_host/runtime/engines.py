"""What a host uses of an engine, and nothing else: anything of this shape can run its components.

The engine of `trellis_host.engine` is one; a lattice of many hosts in one process may give them another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from trellis_host.engine.api import ImportResolver, Limits, LoadProgress
from trellis_lattice.wit.types import FuncType, InterfaceType

__all__ = ["ComponentLike", "EngineLike", "ExportLike", "LinkedLike", "LoadLike", "RunningLike", "SandboxLike"]


class LoadLike(Protocol):
    """A moment of an engine: sandboxes alive, and how many may be."""

    @property
    def in_flight(self) -> int: ...

    @property
    def max_in_flight(self) -> int: ...


class EngineLike(Protocol):
    """Loads components. See `trellis_host.engine.Engine`."""

    async def load(self, wasm: bytes, *, progress: LoadProgress | None = None) -> ComponentLike:
        """A component ready to be linked. Raises `RequestInvalid` saying what is wrong with the bytes."""

    def stats(self) -> LoadLike: ...

    async def aclose(self) -> None:
        """Ends everything that still runs. Idempotent."""


class ComponentLike(Protocol):
    """A loaded component; interfaces by full name with version, "" for functions of the root."""

    @property
    def imports(self) -> Mapping[str, InterfaceType]: ...

    @property
    def exports(self) -> Mapping[str, InterfaceType]: ...

    def link(self, resolve: ImportResolver, *, name: str | None = None) -> LinkedLike:
        """Binds the imports. `name` is how errors call the component. Raises `NotFound` listing all that miss."""


class ExportLike(Protocol):
    """An exported function; `interface` has the component's own version."""

    @property
    def interface(self) -> str: ...

    @property
    def type(self) -> FuncType: ...


class LinkedLike(Protocol):
    """A component that can be called; each call gets a fresh sandbox. An `export` is one that it gave."""

    @property
    def name(self) -> str: ...

    def export(self, interface: str, function: str) -> ExportLike:
        """Raises `NotFound` naming what there is."""

    def start(self, export: Any, args: Sequence[Any], context: Any, limits: Limits, *, deadline: float) -> RunningLike:
        """Begins a call, up to where it first waits. `deadline` is loop time."""

    async def call(self, export: Any, args: Sequence[Any], context: Any, limits: Limits, *, deadline: float) -> Any: ...

    async def sandbox(self, context: Any, limits: Limits, *, deadline: float) -> SandboxLike:
        """An instance for more than one call."""


class RunningLike(Protocol):
    """A call that was begun."""

    @property
    def done(self) -> bool: ...

    async def result(self) -> Any: ...

    def outcome(self) -> Any:
        """As `result`, of one that is `done`."""

    def close(self) -> None: ...


class SandboxLike(Protocol):
    """An instance whose own resources live across calls."""

    @property
    def closed(self) -> bool: ...

    @property
    def kept(self) -> Any:
        """Its resources that are held outside; something empty if there are none."""

    async def call(self, export: Any, args: Sequence[Any], deadline: float) -> Any: ...

    def forget(self, resource: Any) -> None:
        """Nobody holds this resource any more."""

    def close(self) -> None: ...
