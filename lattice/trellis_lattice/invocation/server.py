"""Answers calls from the lattice: `LatticeServer`, for all targets of one host.

Calls go to the `Serving` of their target. This file has what the targets share: the resources that instances
hold, the calls on them, and the end of all.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import TrellisError, Unavailable
from trellis_lattice.follow.calls import CallWatch
from trellis_lattice.invocation import subjects
from trellis_lattice.invocation.api import Service
from trellis_lattice.invocation.headers import REPLY_ERROR, is_drop
from trellis_lattice.invocation.resources import ResourceTable
from trellis_lattice.invocation.serving import CONCURRENCY, Serving
from trellis_lattice.invocation.streams import StreamHub
from trellis_lattice.tracing import Tracing
from trellis_lattice.wit.cbor import dumps, loads

__all__ = ["LatticeServer", "Serving"]

_EXPIRY_INTERVAL = 1.0


class LatticeServer:
    """Serves any number of targets of one host over one connection. Made by `start`, ended by `aclose`.

    `released(value)` is called for each resource of a service that nobody holds any more.
    """

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        host: str,
        *,
        tracing: Tracing | None = None,
        released: Callable[[Any], None] = lambda value: None,
    ) -> None:
        self.connection = connection
        self.lattice = lattice
        self.host = host
        self.tracing = tracing or Tracing()
        self.hub = StreamHub(connection, host)
        self.resources = ResourceTable(secrets.token_hex(8), released)
        self.calls: CallWatch | None = None
        """Told of each call while somebody spies."""
        self._servings: dict[str, Serving] = {}
        self._instances: Subscription | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._let_go = asyncio.Event()

    @classmethod
    async def start(
        cls,
        connection: Connection,
        lattice: str,
        host: str,
        *,
        tracing: Tracing | None = None,
        released: Callable[[Any], None] = lambda value: None,
    ) -> LatticeServer:
        """Listens for calls on resources; targets come with `serve`."""
        self = cls(connection, lattice, host, tracing=tracing, released=released)
        self._instances = await connection.subscribe(
            subjects.instances(lattice, self.resources.server), self._on_instance_message
        )
        self._expire()
        return self

    async def serve(self, target: str, service: Service, *, concurrency: int = CONCURRENCY) -> Serving:
        """Answers calls to `target` with `service`, at most `concurrency` at one time."""
        serving = Serving(self, target, service, concurrency)
        await serving._start()
        self._servings[target] = serving
        return serving

    def host_gone(self, host: str) -> None:
        """The host is dead: streams that it was sending end with an error."""
        self.hub.host_gone(host)

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Leaves with all targets at once, as `Serving.aclose`. Idempotent."""
        if self._servings:
            await asyncio.gather(*(serving.aclose(grace=grace) for serving in tuple(self._servings.values())))
        if self._expiry is not None:
            self._expiry.cancel()
        if self._instances is not None:
            await self._instances.unsubscribe()
        self.resources.close()
        await self.hub.aclose()

    async def let_go(self, serving: Serving, deadline: float) -> None:
        """Waits until nobody holds resources of a target that leaves, unless another serving has taken over."""
        while self._servings.get(serving.target) is serving and self.resources.holds(serving.target):
            self._let_go.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._let_go.wait()
            except TimeoutError:
                return

    def _forget(self, serving: Serving) -> None:
        if self._servings.get(serving.target) is serving:
            del self._servings[serving.target]
            self.resources.close_target(serving.target)

    def _on_instance_message(self, message: Message) -> None:
        name = subjects.parse_instance(message.subject) or ""
        if is_drop(message.headers):
            ids = loads(message.data)
            self.resources.drop(name, [key for key in ids if isinstance(key, str)] if isinstance(ids, list) else [])
            self._let_go.set()
            return
        try:
            instance = self.resources.find(name)
            serving = self._servings.get(instance.target)
            if serving is None:
                raise Unavailable(f"{instance.target!r} is no longer on this host.", reason="owner-gone")
        except Unavailable as error:
            if message.reply:
                self.hub.tasks.spawn(self._reply_error(message.reply, error))
            return
        serving.accept(message, instance)

    async def _reply_error(self, reply: str, error: TrellisError) -> None:
        await self.connection.publish(reply, dumps(error.to_wire()), headers=REPLY_ERROR)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self.resources.expire(loop.time())
        self._let_go.set()
        self._expiry = loop.call_later(_EXPIRY_INTERVAL, self._expire)
