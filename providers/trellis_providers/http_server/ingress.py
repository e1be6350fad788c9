"""All HTTP addresses of one host, shared by every http-server provider on it.

The laws of this file: an address is opened with its first route and closed with its last; a route is in force
or it is not, nothing in between; changes happen one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from trellis_lattice.errors import Unavailable
from trellis_lattice.http import HttpRequest
from trellis_lattice.tracing import Tracing
from trellis_provider_sdk import Listeners

from .application import Application, Handle
from .connection import Bounds
from .listener import Listener
from .routes import LinkKey, Route, RouteTable

__all__ = ["Ingress"]

Address = tuple[str, int]

_FINISH = 5.0
"""Seconds that requests under way may still take when the last route of an address goes."""


@dataclass(slots=True)
class _Open:
    listener: Listener
    leaving: set[str] = field(default_factory=set)
    """Providers that drain. Their routes still answer; the address drains when all its providers do."""

    @property
    def table(self) -> RouteTable:
        return self.listener.application.table


class Ingress:
    """See the laws above. `bounds` hold for each client."""

    def __init__(self, listeners: Listeners, tracing: Tracing, bounds: Bounds | None = None) -> None:
        self._listeners = listeners
        self._tracing = tracing
        self._bounds = bounds or Bounds()
        self._open: dict[Address, _Open] = {}
        self._handles: dict[str, Handle] = {}
        self._changing = asyncio.Lock()

    def attach(self, provider: str, handle: Handle) -> None:
        """`handle` calls components for the routes of this provider."""
        self._handles[provider] = handle

    async def put(self, route: Route) -> None:
        """Puts a route in force, in place of an older one of the same link. Raises `Conflict` and changes nothing."""
        async with self._changing:
            address = route.settings.address
            opened = self._open.get(address)
            table = (opened.table if opened is not None else RouteTable()).put(route)
            if opened is None:
                opened = await self._listen(address)
            opened.listener.application.table = table
            opened.leaving.discard(route.provider)
            for other in [other for other in self._open if other != address]:
                await self._remove(other, route.key, _FINISH)

    async def remove(self, key: LinkKey) -> None:
        """Takes the route of a link out of force. Idempotent."""
        async with self._changing:
            for address in list(self._open):
                await self._remove(address, key, _FINISH)

    async def drain(self, provider: str, grace: float) -> None:
        """Accepts no more at addresses whose providers all drain; returns when their clients are gone."""
        async with self._changing:
            ready: list[Listener] = []
            for opened in self._open.values():
                opened.leaving.add(provider)
                if {route.provider for route in opened.table.routes} <= opened.leaving:
                    ready.append(opened.listener)
            await asyncio.gather(*(listener.drain(grace, grace) for listener in ready))

    async def detach(self, provider: str) -> None:
        """Takes all routes of a provider out of force; what it still answers at an address of its own is cut off."""
        async with self._changing:
            for address, opened in list(self._open.items()):
                for route in opened.table.routes:
                    if route.provider == provider:
                        await self._remove(address, route.key, finish=0.0)
            self._handles.pop(provider, None)

    @property
    def addresses(self) -> Mapping[Address, Address]:
        """Each configured address and the one that is really listened on (they differ for port 0)."""
        return {address: opened.listener.bound for address, opened in self._open.items()}

    async def _listen(self, address: Address) -> _Open:
        listener = Listener(Application(self._handle, self._tracing), self._listeners, self._bounds)
        try:
            await listener.open(*address)
        except BaseException:
            await listener.close()
            raise
        opened = self._open[address] = _Open(listener)
        return opened

    async def _handle(self, route: Route, request: HttpRequest, deadline: float) -> object:
        handle = self._handles.get(route.provider)
        if handle is None:
            raise Unavailable(f"The provider {route.provider} is stopping.", retry_after=1.0)
        return await handle(route, request, deadline)

    async def _remove(self, address: Address, key: LinkKey, finish: float) -> None:
        opened = self._open[address]
        table = opened.table.without(key)
        if len(table.routes) == len(opened.table.routes):
            return
        if not table.routes:
            del self._open[address]
            await opened.listener.drain(grace=0.0, finish=finish)
        opened.listener.application.table = table
