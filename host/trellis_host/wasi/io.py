"""`wasi:io`: error, poll, streams."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from trellis_host.engine.api import HostFunction, HostInterface, HostResource, waiting
from trellis_host.wasi.context import WasiContext, trap
from trellis_host.wasi.pollables import Pollable, wait_any
from trellis_host.wasi.results import CHUNK, CLOSED, OK
from trellis_host.wasi.streams import InputStream, IoError, OutputStream, StreamAnswer
from trellis_host.wasi.version import named
from trellis_lattice.wit.values import Ok

__all__ = ["ERROR", "INPUT_STREAM", "IO", "OUTPUT_STREAM", "POLLABLE"]

ERROR = HostResource("error")
POLLABLE = HostResource("pollable")
INPUT_STREAM = HostResource("input-stream", lambda context, stream: stream.drop())
OUTPUT_STREAM = HostResource("output-stream")


def _ready(context: WasiContext, pollable: Pollable) -> bool:
    return pollable.ready()


def _block(context: WasiContext, pollable: Pollable) -> Awaitable[None] | None:
    return None if pollable.ready() else _block_later(pollable)


async def _block_later(pollable: Pollable) -> None:
    await wait_any([pollable])


def _poll(context: WasiContext, pollables: Sequence[Pollable]) -> list[int] | Awaitable[list[int]]:
    if not pollables:
        raise trap(context, "poll was called with an empty list")
    ready = [index for index, each in enumerate(pollables) if each.ready()]
    return ready or wait_any(pollables)


def _debug_string(context: WasiContext, error: IoError) -> str:
    return error.text


def _read(context: WasiContext, stream: InputStream, length: int) -> StreamAnswer:
    return stream.read(length)


def _blocking_read(context: WasiContext, stream: InputStream, length: int) -> StreamAnswer | Awaitable[StreamAnswer]:
    return stream.read_waiting(length)


def _skip(context: WasiContext, stream: InputStream, length: int) -> StreamAnswer:
    return _counted(stream.read(length))


def _blocking_skip(context: WasiContext, stream: InputStream, length: int) -> StreamAnswer | Awaitable[StreamAnswer]:
    answer = stream.read_waiting(length)
    return _counted(answer) if not isinstance(answer, Awaitable) else _counted_later(answer)


def _counted(answer: StreamAnswer) -> StreamAnswer:
    return Ok(len(answer.value)) if isinstance(answer, Ok) else answer


async def _counted_later(answer: Awaitable[StreamAnswer]) -> StreamAnswer:
    return _counted(await answer)


def _subscribe(context: WasiContext, stream: InputStream | OutputStream) -> Pollable:
    return stream.pollable()


def _check_write(context: WasiContext, stream: OutputStream) -> StreamAnswer:
    room = stream.room()
    return Ok(room) if room >= 0 else CLOSED


def _write(context: WasiContext, stream: OutputStream, data: bytes) -> StreamAnswer:
    if len(data) > (room := stream.room()):
        if room < 0:
            return CLOSED
        raise trap(context, f"{len(data)} bytes were written where check-write allowed {room}")
    return stream.put(data)


def _write_and_flush(context: WasiContext, stream: OutputStream, data: bytes) -> StreamAnswer | Awaitable[StreamAnswer]:
    return stream.put_waiting(data)


def _flush(context: WasiContext, stream: OutputStream) -> StreamAnswer:
    return CLOSED if stream.room() < 0 else OK


def _blocking_flush(context: WasiContext, stream: OutputStream) -> StreamAnswer | Awaitable[StreamAnswer]:
    return stream.flush_waiting()


def _write_zeroes(context: WasiContext, stream: OutputStream, length: int) -> StreamAnswer:
    return _write(context, stream, bytes(min(length, CHUNK + 1)))


def _blocking_write_zeroes(
    context: WasiContext, stream: OutputStream, length: int
) -> StreamAnswer | Awaitable[StreamAnswer]:
    if length > CHUNK:
        raise trap(context, f"blocking-write-zeroes-and-flush was asked for {length} bytes, more than {CHUNK}")
    return stream.put_waiting(bytes(length))


def _splice(context: WasiContext, target: OutputStream, source: InputStream, length: int) -> StreamAnswer:
    room = target.room()
    if room < 0:
        return CLOSED
    answer = source.read(min(length, room))
    if not isinstance(answer, Ok):
        return answer
    written = target.put(answer.value) if answer.value else OK
    return Ok(len(answer.value)) if written is OK else written


async def _blocking_splice(
    context: WasiContext, target: OutputStream, source: InputStream, length: int
) -> StreamAnswer:
    if length:
        await wait_any([target.pollable()])
        await wait_any([source.pollable()])
    return _splice(context, target, source, length)


_STREAM_FUNCTIONS: dict[str, HostFunction] = {
    "[method]input-stream.read": HostFunction(_read),
    "[method]input-stream.blocking-read": waiting(_blocking_read),
    "[method]input-stream.skip": HostFunction(_skip),
    "[method]input-stream.blocking-skip": waiting(_blocking_skip),
    "[method]input-stream.subscribe": HostFunction(_subscribe),
    "[method]output-stream.check-write": HostFunction(_check_write),
    "[method]output-stream.write": HostFunction(_write),
    "[method]output-stream.blocking-write-and-flush": waiting(_write_and_flush),
    "[method]output-stream.flush": HostFunction(_flush),
    "[method]output-stream.blocking-flush": waiting(_blocking_flush),
    "[method]output-stream.subscribe": HostFunction(_subscribe),
    "[method]output-stream.write-zeroes": HostFunction(_write_zeroes),
    "[method]output-stream.blocking-write-zeroes-and-flush": waiting(_blocking_write_zeroes),
    "[method]output-stream.splice": HostFunction(_splice),
    "[method]output-stream.blocking-splice": waiting(_blocking_splice),
}

_STREAM_RESOURCES: dict[str, HostResource] = {
    "error": ERROR,
    "pollable": POLLABLE,
    "input-stream": INPUT_STREAM,
    "output-stream": OUTPUT_STREAM,
}

_POLL_FUNCTIONS: dict[str, Any] = {
    "[method]pollable.ready": HostFunction(_ready),
    "[method]pollable.block": waiting(_block),
    "poll": waiting(_poll),
}

IO: tuple[HostInterface, ...] = (
    HostInterface(
        named("io", "error"), {"[method]error.to-debug-string": HostFunction(_debug_string)}, {"error": ERROR}
    ),
    HostInterface(named("io", "poll"), _POLL_FUNCTIONS, {"pollable": POLLABLE}),
    HostInterface(named("io", "streams"), _STREAM_FUNCTIONS, _STREAM_RESOURCES),
)
