"""`wasi:http` bodies: incoming (the component reads) and outgoing (the component writes).

The laws of this file: bytes pass through one bounded pipe per body, so whoever is slow slows down the other
side; a body is taken once, its stream is taken once; an outgoing body that is dropped instead of finished, or
that differs from its content-length, reaches its reader as an error and never as a shorter body.
"""

from __future__ import annotations

from typing import Any

from trellis_host.engine.api import HostFunction, HostResource
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.http.error_codes import code_of, http_failure
from trellis_host.wasi.http.fields import HttpFields, allowed
from trellis_host.wasi.pollables import Cell, CellFilled, Pollable
from trellis_host.wasi.results import FAILED, OK
from trellis_host.wasi.streams import InputStream, PipeStream, StreamAnswer, stream_failed
from trellis_lattice.errors import TrellisError, Unavailable
from trellis_lattice.streams import BytesBody, ByteStream, Fields, Pipe
from trellis_lattice.wit.values import Case, Err, Ok

__all__ = [
    "BODY_FUNCTIONS",
    "FUTURE_TRAILERS",
    "INCOMING_BODY",
    "OUTGOING_BODY",
    "IncomingBody",
    "OutgoingBody",
    "content_length",
    "pump",
]

_PIECE = 64 * 1024


def content_length(headers: Fields) -> int | None:
    """The declared length, if the headers declare one that makes sense."""
    for name, value in headers:
        if name == "content-length":
            return int(value) if value.isdigit() and len(value) < 20 else None
    return None


class IncomingBody:
    """The body of a request that came in, or of a response to a request that went out."""

    __slots__ = ("_gone", "_pipe", "_source", "_stream_alive", "_taken")

    def __init__(self, source: ByteStream) -> None:
        self._source = source
        self._pipe: Pipe | None = None
        self._taken = False
        self._gone = False
        self._stream_alive = False

    def stream(self, context: WasiContext) -> InputStream | None:
        """The one stream of this body; None if it was taken before."""
        if self._taken:
            return None
        self._taken = self._stream_alive = True
        return _BodyInput(self._as_pipe(context), self)

    def _as_pipe(self, context: WasiContext) -> Pipe:
        pipe = self._pipe
        if pipe is None:
            source = self._source
            if isinstance(source, Pipe):
                pipe = source
            elif isinstance(source, BytesBody):
                pipe = _filled(source)
            else:
                pipe = Pipe()
                context.spawn(pump(source, pipe))
            self._pipe = pipe
        return pipe

    def finish(self, context: WasiContext) -> Cell:
        """Gives the body up; the cell is filled with what `future-trailers.get` answers."""
        cell, pipe = Cell(), self._as_pipe(context)
        if pipe.ended:
            cell.fill(_trailers(pipe))
        else:
            context.spawn(_await_trailers(pipe, cell))
        return cell

    def drop(self) -> None:
        """The component wants no more of it, once its stream is dropped too.

        A source that was never read is closed by whoever brought it.
        """
        self._gone = True
        if self._stream_alive:
            return
        if self._pipe is not None:
            self._pipe.close_nowait()
        elif isinstance(self._source, Pipe):
            self._source.close_nowait()

    def stream_dropped(self) -> None:
        self._stream_alive = False
        if self._gone:
            self.drop()


class _BodyInput(InputStream):
    __slots__ = ("_body",)

    def __init__(self, pipe: Pipe, body: IncomingBody) -> None:
        super().__init__(pipe)
        self._body = body

    def drop(self) -> None:
        self._body.stream_dropped()

    def _code(self, failure: TrellisError) -> Case | None:
        return code_of(failure)


class OutgoingBody:
    """The body of a response, or of a request that goes out.

    `expected`: declared content-length, or None. `code`: the error-code for a wrong length. `bodiless`: an
    empty body is right whatever the content-length says (the answer to HEAD, status 304).
    """

    __slots__ = ("_code", "_expected", "_stream_taken", "bodiless", "finished", "pipe", "written")

    def __init__(self, pipe: Pipe, expected: int | None, code: str, bodiless: bool = False) -> None:
        self.pipe = pipe
        self.written = 0
        self.finished = False
        self.bodiless = bodiless
        self._expected = expected
        self._code = code
        self._stream_taken = False

    def stream(self) -> PipeStream | None:
        if self._stream_taken:
            return None
        self._stream_taken = True
        return PipeStream(self.pipe) if self._expected is None else _CountedOutput(self)

    def too_long(self, size: int) -> bool:
        """Accounts for `size` bytes; whether they exceed the content-length."""
        self.written += size
        return self._expected is not None and self.written > self._expected

    def wrong_length(self) -> Case:
        return Case(self._code, self.written)

    def finish(self, trailers: Fields | None) -> Ok[Any] | Err[Any]:
        """The body is complete."""
        self.finished = True
        if self._expected is not None and self.written != self._expected and (self.written or not self.bodiless):
            code = self.wrong_length()
            text = f"The body has {self.written} bytes where its content-length says {self._expected}."
            self.pipe.end(error=http_failure(code.name, text))
            return Err(code)
        self.pipe.end(trailers)
        return OK

    def drop(self, context: WasiContext) -> None:
        """Not finished: what was written must not look complete.

        The end of an exchange ends its response's body, because only then is it known why.
        """
        exchange = context.exchange
        if not self.finished and (exchange is None or exchange.pipe is not self.pipe):
            self.finished = True
            self.pipe.end(error=http_failure("HTTP-response-incomplete", "The body was dropped before its end."))


class _CountedOutput(PipeStream):
    """Refuses what exceeds the content-length."""

    __slots__ = ("_body",)

    def __init__(self, body: OutgoingBody) -> None:
        super().__init__(body.pipe)
        self._body = body

    def refuse(self, size: int) -> StreamAnswer | None:
        if self._body.too_long(size):
            return stream_failed("The body is longer than its content-length.", self._body.wrong_length())
        return None


def _filled(source: BytesBody) -> Pipe:
    data, pipe = source.remaining, Pipe()
    for start in range(0, len(data), _PIECE):
        pipe.write(data[start : start + _PIECE])
    pipe.end(source.final_trailers)
    return pipe


async def pump(source: ByteStream, pipe: Pipe) -> None:
    """Moves all of `source` into `pipe`, as fast as that is read; an error becomes the pipe's."""
    try:
        while chunk := await source.read(_PIECE):
            pipe.write(chunk)
            await pipe.drain()
            if pipe.reader_gone:
                return
        pipe.end(await source.trailers())
    except TrellisError as error:
        pipe.end(error=error)
    except Exception as error:
        pipe.end(error=Unavailable(f"A body could not be read: {error!r}", maybe_executed=True))
    finally:
        await source.aclose()


def _trailers(pipe: Pipe) -> Ok[Any] | Err[Any]:
    if pipe.failure is not None:
        return Err(code_of(pipe.failure))
    trailers = pipe.final_trailers
    return Ok(None if trailers is None else HttpFields(allowed(trailers), immutable=True))


async def _await_trailers(pipe: Pipe, cell: Cell) -> None:
    while not pipe.ended:
        if not pipe.read_nowait(_PIECE):
            await pipe.changed()
    cell.fill(_trailers(pipe))


INCOMING_BODY = HostResource("incoming-body", lambda context, body: body.drop())
OUTGOING_BODY = HostResource("outgoing-body", lambda context, body: body.drop(context))


class _FutureTrailers:
    __slots__ = ("cell", "taken")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.taken = False


FUTURE_TRAILERS = HostResource("future-trailers")


def _incoming_stream(context: WasiContext, body: IncomingBody) -> Ok[InputStream] | Err[Any]:
    stream = body.stream(context)
    return FAILED if stream is None else Ok(stream)


def _incoming_finish(context: WasiContext, body: IncomingBody) -> _FutureTrailers:
    return _FutureTrailers(body.finish(context))


def _trailers_subscribe(context: WasiContext, future: _FutureTrailers) -> Pollable:
    return CellFilled(future.cell)


def _trailers_get(context: WasiContext, future: _FutureTrailers) -> Ok[Any] | Err[Any] | None:
    if future.taken:
        return FAILED
    if not future.cell.filled:
        return None
    future.taken = True
    return Ok(future.cell.value)


def _outgoing_write(context: WasiContext, body: OutgoingBody) -> Ok[PipeStream] | Err[Any]:
    stream = body.stream()
    return FAILED if stream is None else Ok(stream)


def _outgoing_finish(context: WasiContext, body: OutgoingBody, trailers: HttpFields | None) -> Ok[Any] | Err[Any]:
    return body.finish(None if trailers is None else trailers.entries)


BODY_FUNCTIONS: dict[str, HostFunction] = {
    "[method]incoming-body.stream": HostFunction(_incoming_stream),
    "[static]incoming-body.finish": HostFunction(_incoming_finish),
    "[method]future-trailers.subscribe": HostFunction(_trailers_subscribe),
    "[method]future-trailers.get": HostFunction(_trailers_get),
    "[method]outgoing-body.write": HostFunction(_outgoing_write),
    "[static]outgoing-body.finish": HostFunction(_outgoing_finish),
}
