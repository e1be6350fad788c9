"""Byte streams with back-pressure: what a body is, wherever it goes.

The laws of this file: a stream has one reader; `read` returns at most what was asked and `b""` only at the
end; trailers can be asked for after the end; whoever stops reading early calls `aclose`, which tells the
writer. Nothing here buffers more than it was told to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from trellis_lattice.errors import RequestInvalid, TrellisError, Unavailable

__all__ = ["EMPTY", "ByteStream", "BytesBody", "Fields", "Pipe", "read_all"]

Fields = list[tuple[str, bytes]]
"""Header or trailer fields in order; names in lower case."""


class ByteStream(Protocol):
    """The reading end of a stream of bytes."""

    async def read(self, limit: int) -> bytes:
        """The next 1 to `limit` bytes; `b""` at the end. Raises the writer's error."""

    async def trailers(self) -> Fields | None:
        """Waits for the end, then returns the trailers, if the writer sent any."""

    async def aclose(self) -> None:
        """Stops reading; the writer notices. Idempotent."""


class BytesBody:
    """A stream whose bytes are all here. `remaining` lets a consumer send them whole."""

    __slots__ = ("_trailers", "remaining")

    def __init__(self, data: bytes, trailers: Fields | None = None) -> None:
        self.remaining = data
        self._trailers = trailers

    @property
    def final_trailers(self) -> Fields | None:
        """The trailers, without waiting."""
        return self._trailers

    async def read(self, limit: int) -> bytes:
        chunk, self.remaining = self.remaining[:limit], self.remaining[limit:]
        return chunk

    async def trailers(self) -> Fields | None:
        return self._trailers

    async def aclose(self) -> None:
        self.remaining = b""


def EMPTY() -> BytesBody:
    """A stream that is at its end."""
    return BytesBody(b"")


class Pipe:
    """A bounded in-memory stream with one writer and one reader in the same event loop.

    `capacity` is in bytes; a writer that finds it full waits (`drain`) or is told how much fits (`room`).
    """

    __slots__ = ("_chunks", "_ended", "_error", "_reader_gone", "_size", "_trailers", "_wake", "capacity")

    def __init__(self, capacity: int = 64 * 1024) -> None:
        self.capacity = capacity
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._reader_gone = False
        self._error: TrellisError | None = None
        self._trailers: Fields | None = None
        self._wake: list[asyncio.Future[None]] = []

    @property
    def room(self) -> int:
        """How many bytes can be written now without exceeding the capacity."""
        return max(0, self.capacity - self._size)

    @property
    def size(self) -> int:
        """How many bytes are here."""
        return self._size

    @property
    def readable(self) -> bool:
        """Whether `read` would return at once."""
        return bool(self._chunks) or self._ended

    @property
    def reader_gone(self) -> bool:
        return self._reader_gone

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def failure(self) -> TrellisError | None:
        """The error the writer ended with, once it has."""
        return self._error

    @property
    def final_trailers(self) -> Fields | None:
        """The trailers the writer ended with, once it has."""
        return self._trailers

    def write(self, data: bytes) -> None:
        """Appends; the caller has looked at `room`. Dropped if the reader is gone."""
        if data and not self._reader_gone and not self._ended:
            self._chunks.append(data)
            self._size += len(data)
            self._notify()

    def end(self, trailers: Fields | None = None, error: TrellisError | None = None) -> None:
        """No more bytes follow. With `error` the reader gets it after the bytes written so far. Idempotent."""
        if not self._ended:
            self._ended, self._trailers, self._error = True, trailers, error
            self._notify()

    def take_all(self) -> bytes | None:
        """All bytes, if the writer has ended cleanly without trailers; else None and nothing is taken."""
        if not self._ended or self._error is not None or self._trailers is not None:
            return None
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return data

    def read_nowait(self, limit: int) -> bytes:
        """Up to `limit` bytes that are here; `b""` says nothing about the end."""
        if not self._chunks:
            return b""
        chunk = self._chunks.popleft()
        if len(chunk) > limit:
            self._chunks.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        self._size -= len(chunk)
        self._notify()
        return chunk

    async def drain(self) -> None:
        """Waits until there is room, or the reader is gone."""
        while not self.room and not self._reader_gone:
            await self.changed()

    async def read(self, limit: int) -> bytes:
        while not self._chunks:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            if self._reader_gone:
                return b""
            await self.changed()
        return self.read_nowait(limit)

    async def trailers(self) -> Fields | None:
        while not self._ended:
            await self.changed()
        if self._error is not None:
            raise self._error
        return self._trailers

    async def aclose(self) -> None:
        self.close_nowait()

    def close_nowait(self) -> None:
        """As `aclose`, for callers that cannot wait."""
        if not self._reader_gone:
            self._reader_gone = True
            self._chunks.clear()
            self._size = 0
            self._notify()

    def abort(self, reason: str) -> None:
        """The writer died: the reader gets `Unavailable(maybe_executed)`."""
        self.end(error=Unavailable(reason, maybe_executed=True))

    async def changed(self) -> None:
        """Waits for the next change of state, whoever causes it."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.watch(waiter)
        try:
            await waiter
        finally:
            if not waiter.done():
                waiter.cancel()
            self.unwatch(waiter)

    def watch(self, waiter: asyncio.Future[None]) -> None:
        """Sets `waiter` at the next change of state; one future may watch several pipes. `unwatch` it afterwards."""
        self._wake.append(waiter)

    def unwatch(self, waiter: asyncio.Future[None]) -> None:
        """Forgets `waiter`; nothing if it is not there."""
        if waiter in self._wake:
            self._wake.remove(waiter)

    def _notify(self) -> None:
        if not self._wake:
            return
        waiters, self._wake = self._wake, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


async def read_all(stream: ByteStream, limit: int) -> bytes:
    """The whole stream; raises `RequestInvalid` and closes it once it exceeds `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while chunk := await stream.read(64 * 1024):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            await stream.aclose()
            raise RequestInvalid(f"The body is longer than {limit} bytes.", limit=limit)
    return b"".join(parts)
