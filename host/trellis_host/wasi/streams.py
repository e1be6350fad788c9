"""`wasi:io` streams: the two ends that a component holds of a byte stream.

The laws of this file: at most `CHUNK` bytes are read per call; what is written never exceeds the room there is;
nothing is copied into a list per byte. The functions answer at once whenever they can and return a coroutine
only when the component really has to wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, TypeAlias

from trellis_host.wasi.logs import LineWriter
from trellis_host.wasi.pollables import ALWAYS, Pollable, Readable, Writable
from trellis_host.wasi.results import CHUNK, CLOSED, NOTHING, OK
from trellis_lattice.errors import TrellisError
from trellis_lattice.streams import Pipe
from trellis_lattice.wit.values import Case, Err, Ok

__all__ = ["InputStream", "IoError", "LogStream", "OutputStream", "PipeStream", "StreamAnswer", "stream_failed"]

StreamAnswer: TypeAlias = Ok[Any] | Err[Any]
"""`result<T, stream-error>`."""


class IoError:
    """`wasi:io/error.error`: why a stream operation failed.

    `code` is the `wasi:http` error-code if the stream belongs to an HTTP body.
    """

    __slots__ = ("code", "text")

    def __init__(self, text: str, code: Case | None = None) -> None:
        self.text = text
        self.code = code


def stream_failed(text: str, code: Case | None = None) -> Err[Any]:
    """`stream-error.last-operation-failed`."""
    return Err(Case("last-operation-failed", IoError(text, code)))


class InputStream:
    """The component reads what is in `pipe`."""

    __slots__ = ("_failed", "pipe")

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self._failed = False

    def read(self, length: int) -> StreamAnswer:
        """What is here, up to `length`; empty if nothing is here yet."""
        data = self.pipe.read_nowait(length if length < CHUNK else CHUNK) if length else b""
        if data:
            return Ok(data)
        if self.pipe.readable and length:
            return self._end()
        return NOTHING

    def read_waiting(self, length: int) -> StreamAnswer | Awaitable[StreamAnswer]:
        """As `read`, but waits for the first byte or the end."""
        if self.pipe.readable or not length:
            return self.read(length)
        return self._read_later(length)

    async def _read_later(self, length: int) -> StreamAnswer:
        while not self.pipe.readable:
            await self.pipe.changed()
        return self.read(length)

    def _end(self) -> StreamAnswer:
        failure = self.pipe.failure
        if failure is None or self._failed:
            return CLOSED
        self._failed = True
        return stream_failed(str(failure), self._code(failure))

    def _code(self, failure: TrellisError) -> Case | None:
        return None

    def pollable(self) -> Pollable:
        return Readable(self.pipe)

    def drop(self) -> None:
        """The component reads no more."""


class OutputStream(ABC):
    """A sink that is always ready. Subclasses say where the bytes go."""

    __slots__ = ()

    def room(self) -> int:
        """How many bytes may be written now; -1: closed."""
        return CHUNK

    @abstractmethod
    def put(self, data: bytes) -> StreamAnswer:
        """Takes `data`; the caller has looked at `room`."""

    def put_waiting(self, data: bytes) -> StreamAnswer | Awaitable[StreamAnswer]:
        """Takes `data` of any length, waiting for room."""
        return self.put(data)

    def flush_waiting(self) -> StreamAnswer | Awaitable[StreamAnswer]:
        """Bytes are on their way once they are taken."""
        return CLOSED if self.room() < 0 else OK

    def pollable(self) -> Pollable:
        return ALWAYS


class LogStream(OutputStream):
    """stdout or stderr."""

    __slots__ = ("_writer",)

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def put(self, data: bytes) -> StreamAnswer:
        self._writer.write(data)
        return OK


class PipeStream(OutputStream):
    """The component writes into `pipe`."""

    __slots__ = ("pipe",)

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def room(self) -> int:
        pipe = self.pipe
        if pipe.reader_gone or pipe.ended:
            return -1
        return min(pipe.room, CHUNK)

    def put(self, data: bytes) -> StreamAnswer:
        pipe = self.pipe
        if pipe.reader_gone or pipe.ended:
            return CLOSED
        refusal = self.refuse(len(data))
        if refusal is None:
            pipe.write(data)
            return OK
        return refusal

    def put_waiting(self, data: bytes) -> StreamAnswer | Awaitable[StreamAnswer]:
        return self.put(data) if len(data) <= self.pipe.room else self._put_later(data)

    async def _put_later(self, data: bytes) -> StreamAnswer:
        pipe, view = self.pipe, memoryview(data)
        while view:
            await pipe.drain()
            if pipe.reader_gone or pipe.ended:
                return CLOSED
            piece = view[: min(pipe.room, CHUNK)]
            answer = self.put(bytes(piece))
            if answer is not OK:
                return answer
            view = view[len(piece) :]
        return OK

    def refuse(self, size: int) -> StreamAnswer | None:
        """The answer if `size` more bytes must not be written; None accepts and accounts for them."""
        return None

    def pollable(self) -> Pollable:
        return Writable(self.pipe)
