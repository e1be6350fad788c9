"""All HTTP addresses of one host, shared by every http-server provider on it, and with the hosts beside it.

The laws of this file: an address is opened with its first route and closed with its last; a route is in force
or it is not, nothing in between; changes happen one at a time. Where other hosts accept from the same socket,
their routes answer here too: a client cannot choose which host it gets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from trellis_lattice.bus.connection import Connection
from trellis_lattice.errors import Conflict, Unavailable
from trellis_lattice.http import HttpRequest
from trellis_lattice.tracing import Tracing
from trellis_provider_sdk import Listeners

from .application import Application, Handle
from .claims import Claim, Merged, merge
from .connection import Bounds
from .listener import Listener
from .routes import LinkKey, Route, RouteTable
from .sharing import Sharing

__all__ = ["Ingress"]

Address = tuple[str, int]
Lost = Callable[[LinkKey, Conflict], None]

_FINISH = 3.5
"""Seconds that requests under way may still take when the last route of an address goes."""
_HAND_OVER = 1.0
"""Seconds for which clients are told to come again, and get to another host, before they are sent away."""


@dataclass(slots=True)
class _Open:
    listener: Listener
    own: dict[LinkKey, Claim] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)
    """Providers that drain. Their routes still answer; the address drains when all its providers do."""
    sharing: Sharing | None = None

    @property
    def providers(self) -> set[str]:
        return {claim.route.provider for claim in self.own.values()}

    def merged(self, own: Mapping[LinkKey, Claim]) -> Merged:
        """What answers if these are the routes of this host."""
        peers = self.sharing.peers if self.sharing is not None else None
        return merge(own.values(), peers.live, peers.lingering) if peers is not None else merge(own.values(), ())

    def newest(self) -> int:
        peers = self.sharing.peers.live if self.sharing is not None else []
        return max((claim.since for claims in (self.own.values(), *peers) for claim in claims), default=0)


@dataclass(frozen=True, slots=True)
class _Attached:
    handle: Handle
    lost: Lost


class Ingress:
    """See the laws above. `bounds` hold for each client.

    `connection` gives the way to other hosts of `lattice`; it is asked for when a socket turns out to be shared.
    `clock`: seconds since 1970.
    """

    def __init__(
        self,
        listeners: Listeners,
        tracing: Tracing,
        bounds: Bounds | None = None,
        *,
        lattice: str = "default",
        connection: Callable[[], Connection] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._listeners = listeners
        self._tracing = tracing
        self._bounds = bounds or Bounds()
        self._lattice = lattice
        self._connection = connection
        self._clock = clock
        self._open: dict[Address, _Open] = {}
        self._attached: dict[str, _Attached] = {}
        self._changing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    def attach(self, provider: str, handle: Handle, lost: Lost = lambda key, reason: None) -> None:
        """`handle` calls components for the routes of this provider, and for those of other hosts' providers.

        `lost` is told when a link that was in force had to give way to another host's.
        """
        self._attached[provider] = _Attached(handle, lost)

    async def put(self, route: Route) -> None:
        """Puts a route in force, in place of an older one of the same link. Raises `Conflict` and changes nothing."""
        async with self._changing:
            address = route.settings.address
            opened = self._open.get(address)
            if opened is None or not opened.listener.listening:
                opened = await self._listen(address)
            try:
                own = {**opened.own, route.key: self._claim(opened, route)}
                reason = opened.merged(own).lost.get(route.key)
                if reason is not None:
                    raise reason
                if opened.sharing is not None:
                    opened.sharing.check(own.values())
            except BaseException:
                if not opened.own:
                    await self._close(address, finish=0.0)
                raise
            opened.own = own
            opened.leaving.discard(route.provider)
            self._announce(opened)
            opened.listener.accept()
            for other in [other for other in self._open if other != address]:
                await self._withdraw(other, {route.key})

    async def remove(self, key: LinkKey) -> None:
        """Takes the route of a link out of force. Idempotent."""
        async with self._changing:
            for address in list(self._open):
                await self._withdraw(address, {key})

    async def drain(self, provider: str, grace: float) -> None:
        """Accepts no more at addresses whose providers all drain; returns when their clients are gone."""
        async with self._changing:
            ready: list[Listener] = []
            for opened in self._open.values():
                opened.leaving.add(provider)
                if opened.providers <= opened.leaving:
                    ready.append(opened.listener)
            await asyncio.gather(*(listener.drain(grace, grace) for listener in ready))

    async def detach(self, provider: str) -> None:
        """Takes all routes of a provider out of force; what it still answers at an address of its own is cut off."""
        async with self._changing:
            for address, opened in list(self._open.items()):
                if opened.providers == {provider}:
                    # Not withdrawn: other hosts keep its routes for a moment, until one has the provider again.
                    await self._close(address, finish=0.0)
                else:
                    gone = {key for key, claim in opened.own.items() if claim.route.provider == provider}
                    await self._withdraw(address, gone)
            self._attached.pop(provider, None)

    @property
    def addresses(self) -> Mapping[Address, Address]:
        """Each configured address and the one that is really listened on (they differ for port 0)."""
        return {address: opened.listener.bound for address, opened in self._open.items()}

    def routes(self, address: Address) -> tuple[Route, ...]:
        """What is in force at an open address, other hosts' routes included."""
        return self._open[address].listener.application.table.routes

    async def _listen(self, address: Address) -> _Open:
        """Opens an address and hears what other hosts have there; accepts nobody yet."""
        if address in self._open:
            await self._close(address, finish=0.0)  # drained: its providers are about to stop
        listener = Listener(Application(self._handle, self._tracing), self._listeners, self._bounds)
        opened = _Open(listener)
        try:
            await listener.open(*address)
            name = listener.shared_as
            if name is not None and self._connection is not None:
                connection, changed = self._connection(), lambda: self._refresh(address)
                opened.sharing = Sharing(connection, self._lattice, name, address, changed)
                await opened.sharing.join()
        except BaseException:
            await listener.close()
            if opened.sharing is not None:
                await opened.sharing.leave()
            raise
        self._open[address] = opened
        return opened

    def _claim(self, opened: _Open, route: Route) -> Claim:
        """A route that stays what it was keeps its age; a new one is younger than all others."""
        before = opened.own.get(route.key)
        if before is not None and before.pattern == route.pattern:
            return Claim(route, before.since)
        return Claim(route, max(int(self._clock() * 1000), opened.newest() + 1))

    async def _withdraw(self, address: Address, keys: set[LinkKey]) -> None:
        opened = self._open[address]
        if keys.isdisjoint(opened.own):
            return
        opened.own = {key: claim for key, claim in opened.own.items() if key not in keys}
        self._announce(opened)
        if not opened.own:
            await self._close(address, _FINISH)

    async def _close(self, address: Address, finish: float) -> None:
        opened = self._open.pop(address)
        grace = _HAND_OVER if finish and opened.sharing is not None and opened.sharing.peers.members else 0.0
        try:
            await opened.listener.drain(grace, finish)
        finally:
            # Also if whoever asked for it has run out of patience: nothing may stay open that nobody knows of.
            await opened.listener.close()
            if opened.sharing is not None:
                await opened.sharing.leave()

    def _announce(self, opened: _Open) -> None:
        opened.listener.application.table = RouteTable.of(opened.merged(opened.own).routes)
        if opened.sharing is not None:
            opened.sharing.claim(opened.own.values())

    def _refresh(self, address: Address) -> None:
        """Other hosts have changed theirs."""
        opened = self._open.get(address)
        if opened is None:
            return
        merged = opened.merged(opened.own)
        opened.listener.application.table = RouteTable.of(merged.routes)
        if not merged.lost:
            return
        lost = {key: opened.own[key].route for key in merged.lost}
        opened.own = {key: claim for key, claim in opened.own.items() if key not in lost}
        self._announce(opened)
        for key, route in lost.items():
            attached = self._attached.get(route.provider)
            if attached is not None:
                attached.lost(key, merged.lost[key])
        if not opened.own:
            task = asyncio.create_task(self._close_unused(), name="close-http-addresses")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close_unused(self) -> None:
        async with self._changing:
            for address in [address for address, opened in self._open.items() if not opened.own]:
                await self._close(address, _FINISH)

    def _handle(self, route: Route, request: HttpRequest, deadline: float) -> Awaitable[object]:
        attached = self._attached.get(route.provider) or next(iter(self._attached.values()), None)
        if attached is None:
            raise Unavailable(f"The provider {route.provider} is stopping.", retry_after=1.0)
        return attached.handle(route, request, deadline)
