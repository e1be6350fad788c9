"""One HTTP/1.1 connection: uvicorn's protocol, bounded and watched.

The laws of this file: whatever a client does or leaves undone, its connection holds a bounded amount of memory
for a bounded time; a client that goes away cancels the work that was done for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from trellis_lattice.errors import PeerMisbehaved

__all__ = ["Bounds", "Connection"]


_COMMON_NAMES = frozenset((b"cache-control", b"connection", b"content-length", b"content-type", b"etag", b"vary"))
"""Names that need no look at their letters."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds and bytes that a client may take."""

    head: float = 15.0
    """From a connection's start, or a request's first byte, to the end of the request's head."""
    head_bytes: int = 64 * 1024
    stalled_write: float = 60.0
    """How long a client may take nothing of what is ready for it."""
    keep_alive: int = 75
    connections: int = 10_000


class Connection(HttpToolsProtocol):
    """Made by the listener for each accepted socket. `task` answers the current request, if there is one."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        bounds: Bounds,
        closed: Callable[[], None],
    ) -> None:
        super().__init__(config, state, {"connection": self})
        self.task: asyncio.Task[Any] | None = None
        self.gone = False
        self._bounds = bounds
        self._closed = closed
        self._head_since: float | None = None
        self._head_bytes = 0
        self._stalled_since: float | None = None
        self._idle_since: float | None = None

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        super().connection_lost(exc)
        if self.task is not None and not self.cycle.response_complete:
            self.task.cancel()
        self._closed()

    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        before = self._head_since
        super().data_received(data)
        if self._head_since is None:
            return
        # Bytes that began a head may belong to the request before; they are at most one read of the transport.
        self._head_bytes += len(data) if before is not None else 1
        if self._head_bytes > self._bounds.head_bytes:
            self._refuse_head(431, b"Request Header Fields Too Large")

    def pause_writing(self) -> None:
        self._stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since = None
        super().resume_writing()

    # What the parser tells

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_since is None:
            self._head_since = self.loop.time()
            self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._head_since = None
        self._head_bytes = 0
        super().on_headers_complete()
        self.scope["state"]["cycle"] = self.cycle

    # What the server tells

    def on_response_complete(self) -> None:
        """As uvicorn's, but `sweep` ends idle connections: a timer for each answer would cost more than the rest."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    # What the listener and the application ask

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or bool(self.cycle.response_complete)

    @property
    def body_follows(self) -> bool:
        """Whether the client has not sent all of the current request's body."""
        return self.cycle is not None and bool(self.cycle.more_body)

    async def respond(
        self, cycle: RequestResponseCycle, status: int, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Sends a complete answer to the request of `cycle` in one write; ASGI's two messages would be two.

        `headers` have the body's length, where there is one. Raises `PeerMisbehaved` for a field that HTTP/1.1
        cannot carry; nothing was sent then.
        """
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        lines = [STATUS_LINE[status]]
        for name, value in cycle.default_headers:
            lines.append(b"%b: %b\r\n" % (name, value))
        for name, value in headers:
            if (name not in _COMMON_NAMES and HEADER_RE.search(name)) or HEADER_VALUE_RE.search(value):
                raise PeerMisbehaved(f"The header field {name!r} of the answer is not valid.")
            if name == b"connection":
                cycle.keep_alive = False
            else:
                lines.append(b"%b: %b\r\n" % (name, value))
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        lines.append(body)
        self.transport.write(b"".join(lines))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def sweep(self, now: float) -> None:
        """Ends the connection if the client has used up its time."""
        if self._stalled_since is not None:
            if now - self._stalled_since > self._bounds.stalled_write:
                self.abort()
        elif not self.idle:
            self._idle_since = None
        elif self._head_since is not None:
            if now - self._head_since > self._bounds.head:
                self._refuse_head(408, b"Request Timeout")
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > (self._bounds.head if self.body_follows else self._bounds.keep_alive):
            self.transport.close()

    def abort(self) -> None:
        """Ends the connection at once; a client in the middle of an answer sees that it is incomplete."""
        self.gone = True
        self.transport.abort()

    def _refuse_head(self, status: int, phrase: bytes) -> None:
        """Answers a request that never became one, and closes."""
        if not self.transport.is_closing():
            if self.idle and self._head_bytes:
                self.transport.write(
                    b"HTTP/1.1 %d %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (status, phrase)
                )
            self.transport.close()
