"""One listening address: accepts, bounds, and ends connections without resets.

The laws of this file: draining first stops accepting, then says `Connection: close` with every answer for a
grace period, and only then closes what is idle; what is still being answered may finish.
"""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from trellis_provider_sdk import Listeners

from .acceptor import Acceptor
from .application import Application
from .connection import Bounds, Connection

__all__ = ["Listener"]

_SWEEP_SECONDS = 1.0
_ABORT_SECONDS = 1.0


class Listener:
    """Serves one address in the running event loop, from `open` and `accept` until `drain` or `close`."""

    def __init__(self, application: Application, listeners: Listeners, bounds: Bounds) -> None:
        self.application = application
        self._listeners = listeners
        self._bounds = bounds
        self._config = Config(
            application,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=bounds.keep_alive,
        )
        self._config.load()
        self._state = ServerState()
        self._socket: socket.socket | None = None
        self._acceptor: Acceptor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self.bound: tuple[str, int] = ("", 0)
        """The address that is really listened on; differs from what was asked for if that was port 0."""
        self.shared_as: str | None = None
        """What other hosts that accept from the same socket call it; None if there cannot be any."""

    async def open(self, host: str, port: int) -> None:
        """Listens; clients wait until `accept`. Raises a `TrellisError` if the address cannot be had."""
        self._socket = await self._listeners.open(host, port)
        self.bound = self._socket.getsockname()[:2]
        self.shared_as = self._listeners.shared_as(self._socket)

    def accept(self) -> None:
        """Begins to accept. Idempotent."""
        if self._socket is not None and self._acceptor is None:
            self._acceptor = Acceptor(self._socket, self._connect, self._has_room)
            self._sweep(asyncio.get_running_loop())

    @property
    def listening(self) -> bool:
        """False before it was opened and once it drains."""
        return self._socket is not None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._state.connections)

    async def drain(self, grace: float, finish: float) -> None:
        """Returns when no client is left: idle ones are closed after `grace` seconds, all after `finish` more."""
        await self._stop_accepting()
        self.application.draining = True
        if not await self._emptied(grace):
            for connection in list(self._state.connections):
                connection.shutdown()
            await self._emptied(finish)
        await self.close()

    async def close(self) -> None:
        """Ends everything at once: components are cancelled, connections cut. Idempotent."""
        await self._stop_accepting()
        for connection in self._connections():
            connection.abort()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._emptied(_ABORT_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _stop_accepting(self) -> None:
        acceptor, self._acceptor = self._acceptor, None
        listening, self._socket = self._socket, None
        if acceptor is not None:
            await acceptor.stop()
        if listening is not None:
            await self._listeners.release(listening)

    async def _emptied(self, seconds: float) -> bool:
        """Whether all clients were gone within that time."""
        self._empty.clear()
        if not self._state.connections:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _connections(self) -> list[Connection]:
        return [each for each in self._state.connections if isinstance(each, Connection)]

    def _connect(self) -> Connection:
        return Connection(self._config, self._state, self._bounds, self._closed)

    def _has_room(self, coming: int) -> bool:
        return len(self._state.connections) + coming < self._bounds.connections

    def _closed(self) -> None:
        if not self._state.connections:
            self._empty.set()
        if self._acceptor is not None:
            self._acceptor.resume()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once a second: the `Date` of the answers to come, and an end to connections whose time is up."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        now = loop.time()
        for connection in self._connections():
            connection.sweep(now)
        if self._acceptor is not None:
            self._acceptor.resume()
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep, loop)
