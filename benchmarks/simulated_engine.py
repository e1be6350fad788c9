"""An engine that compiles and runs nothing: for measuring what a lattice does around it.

Every component it loads exports one function that answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trellis_host.engine import EngineSettings
from trellis_host.engine.api import ImportResolver, Limits, LoadProgress
from trellis_lattice.errors import NotFound
from trellis_lattice.wit.types import FuncType, InterfaceType, Primitive

__all__ = ["SimulatedEngine"]

_RUN = FuncType((), Primitive.U32)
_INTERFACE = InterfaceType("bench:simulated/run@0.1.0", {"run": _RUN})


@dataclass(frozen=True, slots=True)
class _Load:
    max_in_flight: int
    in_flight: int = 0


class SimulatedEngine:
    """As `trellis_host.engine.Engine`, without WebAssembly."""

    def __init__(self, settings: EngineSettings) -> None:
        self._load = _Load(settings.max_in_flight)

    async def load(self, wasm: bytes, *, progress: LoadProgress | None = None) -> SimulatedComponent:
        return SimulatedComponent()

    def stats(self) -> _Load:
        return self._load

    async def aclose(self) -> None:
        """Holds nothing."""


@dataclass(frozen=True, slots=True)
class SimulatedComponent:
    imports: Mapping[str, InterfaceType] = field(default_factory=dict)
    exports: Mapping[str, InterfaceType] = field(default_factory=lambda: {_INTERFACE.name: _INTERFACE})

    def link(self, resolve: ImportResolver, *, name: str | None = None) -> SimulatedLinked:
        return SimulatedLinked(name or "simulated")


@dataclass(frozen=True, slots=True)
class _Export:
    interface: str = _INTERFACE.name
    type: FuncType = _RUN


@dataclass(frozen=True, slots=True)
class SimulatedLinked:
    name: str

    def export(self, interface: str, function: str) -> _Export:
        if function not in _INTERFACE.functions:
            raise NotFound(f"Component {self.name} has no function {function}.")
        return _Export()

    def start(
        self, export: Any, args: Sequence[Any], context: Any, limits: Limits, *, deadline: float
    ) -> SimulatedRunning:
        return SimulatedRunning()

    async def call(self, export: Any, args: Sequence[Any], context: Any, limits: Limits, *, deadline: float) -> int:
        return 42

    async def sandbox(self, context: Any, limits: Limits, *, deadline: float) -> SimulatedSandbox:
        return SimulatedSandbox()


@dataclass(slots=True)
class SimulatedRunning:
    done: bool = True

    async def result(self) -> int:
        return 42

    def outcome(self) -> int:
        return 42

    def close(self) -> None:
        """Holds nothing."""


@dataclass(slots=True)
class SimulatedSandbox:
    closed: bool = False
    kept: tuple[()] = ()

    async def call(self, export: Any, args: Sequence[Any], deadline: float) -> int:
        return 42

    def forget(self, resource: Any) -> None:
        """Holds nothing."""

    def close(self) -> None:
        self.closed = True
