"""What a provider is: a class with a life, links, and functions that components call.

The laws of this file: links arrive before the first call over them and each is told once; `stop` runs once,
after the last call; a provider holds no global state, all it may use comes in its context.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from trellis_lattice.bus.connection import Connection
from trellis_lattice.errors import TrellisError
from trellis_lattice.tracing import Tracing
from trellis_lattice.wit.types import FuncType

from .listeners import Listeners

__all__ = ["CurrentCall", "Health", "Provider", "ProviderContext", "ProviderLink", "current_call"]

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class ProviderLink:
    """A link that starts or ends at the provider, its configs resolved (lattice-protocol 5.2).

    `interfaces` are the names inside `namespace:package`. `source_config` is for the source, `target_config`
    for the target.
    """

    source: str
    target: str
    name: str
    namespace: str
    package: str
    interfaces: tuple[str, ...] = ()
    source_config: Mapping[str, str] = field(default_factory=dict)
    target_config: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What makes two links the same link."""
        return (self.source, self.target, self.namespace, self.package, self.name)

    def __str__(self) -> str:
        return f"{self.source} → {self.target} ({self.namespace}:{self.package}, link {self.name!r})"


@dataclass(frozen=True, slots=True)
class CurrentCall:
    """The call being answered. `config`: the target config of the link it came over; empty if there is no link."""

    source: str
    link_name: str
    config: Mapping[str, str]
    interface: str
    function: str
    deadline: float
    """On the event loop's clock."""


_current: ContextVar[CurrentCall] = ContextVar("trellis_current_call")


def current_call() -> CurrentCall:
    """The call that this task is answering. Raises `TrellisError` outside of one."""
    call = _current.get(None)
    if call is None:
        raise TrellisError("current_call() is known only while a provider answers a call.")
    return call


@dataclass(frozen=True, slots=True)
class Health:
    """What a provider says of itself when asked."""

    healthy: bool
    message: str | None = None


class ProviderContext(Protocol):
    """What a provider may use of the host that runs it."""

    @property
    def provider_id(self) -> str: ...

    @property
    def lattice(self) -> str: ...

    @property
    def config(self) -> Mapping[str, str]:
        """The provider's own configuration, as it is now."""

    @property
    def log(self) -> logging.Logger: ...

    @property
    def listeners(self) -> Listeners: ...

    @property
    def tracing(self) -> Tracing: ...

    @property
    def connection(self) -> Connection:
        """The host's connection to NATS."""

    def shared(self, kind: type[S], make: Callable[[], S]) -> S:
        """The one `kind` that all provider instances of this host share, made by the first who asks."""

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
        """Calls a component. `args` and the result are values of `wit.values`. Raises a `TrellisError`.

        `source`: whose link it is, where a provider works for another one of its kind.
        """

    def link_lost(self, link: ProviderLink, reason: TrellisError) -> None:
        """A link that was accepted cannot be kept. It counts as refused, and is put again later."""


class Provider:
    """Base of all providers. Every step of its life may be left out.

    Decorate the class with `@provides`, write its functions as async methods, and read `self.ctx`.
    """

    ctx: ProviderContext

    async def start(self, ctx: ProviderContext) -> None:
        """Gets ready. Runs once, before any link or call; an error here is shown as the reason it did not start."""

    async def link_put(self, link: ProviderLink) -> None:
        """A link is new or has changed. A raised `TrellisError` fails the link with that reason."""

    async def link_delete(self, link: ProviderLink) -> None:
        """A link is gone; it is the object that `link_put` last got."""

    async def config_changed(self, config: Mapping[str, str]) -> None:
        """The provider's own configuration has changed."""

    async def health(self) -> Health:
        """Asked now and then; an error counts as unhealthy."""
        return Health(True)

    async def drain(self, grace: float) -> None:
        """Takes no new work and finishes what it has, for at most `grace` seconds. Runs before `stop`."""

    async def stop(self) -> None:
        """Gives everything back. Runs once, also when `start` failed half-way."""


def bind_current(call: CurrentCall) -> Callable[[], None]:
    """Sets the current call of this task; the result puts back what was before. For the runner only."""
    token = _current.set(call)
    return lambda: _current.reset(token)
