"""For tests of providers: a context with everything given and nothing of a host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trellis_lattice.bus.connection import Connection
from trellis_lattice.errors import TrellisError, Unavailable
from trellis_lattice.invocation.api import Call, Invoker
from trellis_lattice.tracing import Tracing
from trellis_lattice.wit.types import FuncType

from .listeners import BoundListeners, Listeners
from .provider import ProviderLink

__all__ = ["FakeContext", "Shared"]

S = TypeVar("S")


class Shared:
    """What all providers of one host share, one object of a kind."""

    def __init__(self) -> None:
        self._made: dict[type[Any], Any] = {}

    def get(self, kind: type[S], make: Callable[[], S]) -> S:
        """The one `kind`, made by the first who asks."""
        if kind not in self._made:
            self._made[kind] = make()
        made: S = self._made[kind]
        return made


@dataclass(slots=True)
class FakeContext:
    """A `ProviderContext` for tests. `common` and `listeners` are the same objects for all providers of one host."""

    provider_id: str
    invoker: Invoker
    lattice: str = "default"
    config: Mapping[str, str] = field(default_factory=dict)
    common: Shared = field(default_factory=Shared)
    listeners: Listeners = field(default_factory=BoundListeners)
    tracing: Tracing = field(default_factory=Tracing)
    nats: Connection | None = None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("trellis.provider"))
    lost: list[tuple[ProviderLink, TrellisError]] = field(default_factory=list)
    """What the provider said with `link_lost`."""

    @property
    def connection(self) -> Connection:
        if self.nats is None:
            raise Unavailable("This host has no connection to NATS.", remedy="Run the provider on a host that has one.")
        return self.nats

    def shared(self, kind: type[S], make: Callable[[], S]) -> S:
        return self.common.get(kind, make)

    async def invoke(
        self,
        target: str,
        interface: str,
        function: str,
        args: Sequence[Any],
        type: FuncType,
        *,
        deadline: float,
        link_name: str = "default",
        idempotent: bool = False,
        source: str | None = None,
    ) -> Any:
        return await self.invoker.invoke(
            Call(target, interface, function, args, type, deadline, source or self.provider_id, link_name, idempotent)
        )

    def link_lost(self, link: ProviderLink, reason: TrellisError) -> None:
        self.lost.append((link, reason))
