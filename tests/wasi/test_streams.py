"""Streams and pollables, called as a component would."""

from __future__ import annotations

import asyncio

import pytest

from tests.wasi.world import World, finished
from trellis_host.wasi.pollables import Cell, CellFilled, Timer
from trellis_host.wasi.results import CHUNK
from trellis_host.wasi.streams import InputStream, PipeStream
from trellis_lattice.errors import InvocationFailed, Unavailable
from trellis_lattice.streams import Pipe
from trellis_lattice.wit.values import Case, Err, Ok

CLOSED = Err(Case("closed"))


async def test_reading_without_waiting_answers_empty_until_bytes_come_and_closed_at_the_end() -> None:
    world, pipe = World(), Pipe()
    stream = InputStream(pipe)
    assert world.stream("[method]input-stream.read", stream, 10) == Ok(b"")
    pipe.write(b"abcdef")
    assert world.stream("[method]input-stream.read", stream, 4) == Ok(b"abcd")
    assert world.stream("[method]input-stream.read", stream, 0) == Ok(b"")
    pipe.end()
    assert world.stream("[method]input-stream.read", stream, 4) == Ok(b"ef")
    assert world.stream("[method]input-stream.read", stream, 4) == CLOSED
    assert world.stream("[method]input-stream.blocking-read", stream, 4) == CLOSED


async def test_one_read_hands_over_at_most_a_chunk() -> None:
    world, pipe = World(), Pipe()
    pipe.write(b"x" * (3 * CHUNK))
    answer = world.stream("[method]input-stream.read", InputStream(pipe), 2**63)
    assert len(answer.value) == CHUNK


async def test_a_waiting_read_ends_with_the_first_byte() -> None:
    world, pipe = World(), Pipe()
    reading = asyncio.ensure_future(world.stream("[method]input-stream.blocking-read", InputStream(pipe), 10))
    await asyncio.sleep(0)
    assert not reading.done()
    pipe.write(b"now")
    assert await reading == Ok(b"now")


async def test_a_failed_writer_is_told_once_then_the_stream_is_closed() -> None:
    world, pipe = World(), Pipe()
    stream = InputStream(pipe)
    pipe.write(b"part")
    pipe.end(error=Unavailable("gone"))
    assert world.stream("[method]input-stream.read", stream, 10) == Ok(b"part")
    failed = world.stream("[method]input-stream.read", stream, 10)
    assert isinstance(failed, Err)
    assert failed.value.name == "last-operation-failed"
    assert world.call("wasi:io/error", "[method]error.to-debug-string", failed.value.value) == "gone"
    assert world.stream("[method]input-stream.read", stream, 10) == CLOSED


async def test_skip_counts() -> None:
    world, pipe = World(), Pipe()
    stream = InputStream(pipe)
    skipping = asyncio.ensure_future(world.stream("[method]input-stream.blocking-skip", stream, 3))
    await asyncio.sleep(0)
    pipe.write(b"abcdef")
    assert await skipping == Ok(3)
    assert world.stream("[method]input-stream.skip", stream, 10) == Ok(3)


async def test_writing_more_than_allowed_traps() -> None:
    world, pipe = World(), Pipe(100)
    stream = PipeStream(pipe)
    assert world.stream("[method]output-stream.check-write", stream) == Ok(100)
    assert world.stream("[method]output-stream.write", stream, b"x" * 60) == Ok(None)
    assert world.stream("[method]output-stream.check-write", stream) == Ok(40)
    with pytest.raises(InvocationFailed):
        world.stream("[method]output-stream.write", stream, b"x" * 41)


async def test_a_waiting_write_goes_on_as_the_reader_makes_room() -> None:
    world, pipe = World(), Pipe(10)
    data = bytes(range(256))
    writing = asyncio.ensure_future(
        world.stream("[method]output-stream.blocking-write-and-flush", PipeStream(pipe), data)
    )
    received = b""
    while len(received) < len(data):
        piece = await pipe.read(1000)
        assert len(piece) <= 10
        received += piece
    assert received == data
    assert await writing == Ok(None)


async def test_a_write_waits_for_nothing_when_there_is_room() -> None:
    world = World()
    answer = world.stream("[method]output-stream.blocking-write-and-flush", PipeStream(Pipe()), b"abc")
    assert answer == Ok(None)


async def test_a_reader_that_left_closes_the_stream_even_for_a_writer_that_waits() -> None:
    world, pipe = World(), Pipe(4)
    stream = PipeStream(pipe)
    writing = asyncio.ensure_future(world.stream("[method]output-stream.blocking-write-and-flush", stream, b"x" * 9))
    await asyncio.sleep(0)
    pipe.close_nowait()
    assert await writing == CLOSED
    assert world.stream("[method]output-stream.check-write", stream) == CLOSED
    assert world.stream("[method]output-stream.write", stream, b"") == CLOSED
    assert world.stream("[method]output-stream.flush", stream) == CLOSED
    assert world.stream("[method]output-stream.blocking-flush", stream) == CLOSED


async def test_zeroes_and_splices() -> None:
    world, source, target = World(), Pipe(), Pipe(8)
    stream = PipeStream(target)
    assert world.stream("[method]output-stream.write-zeroes", stream, 3) == Ok(None)
    assert world.stream("[method]output-stream.blocking-write-zeroes-and-flush", stream, 1) == Ok(None)
    source.write(b"abcdefgh")
    assert world.stream("[method]output-stream.splice", stream, InputStream(source), 100) == Ok(4)
    assert target.read_nowait(3) == b"\0\0\0"
    assert target.read_nowait(9) == b"\0"
    splicing = world.stream("[method]output-stream.blocking-splice", stream, InputStream(source), 2)
    assert await finished(splicing) == Ok(2)
    assert target.read_nowait(9) + target.read_nowait(9) == b"abcdef"


async def test_poll_answers_all_that_are_ready_and_waits_for_the_first() -> None:
    world, one, two = World(), Pipe(), Pipe()
    pollables = [world.stream("[method]input-stream.subscribe", InputStream(pipe)) for pipe in (one, two)]
    now = world.call("wasi:clocks/monotonic-clock", "subscribe-duration", 0)
    assert world.call("wasi:io/poll", "poll", [*pollables, now, now]) == [2, 3]
    polling = asyncio.ensure_future(world.call("wasi:io/poll", "poll", pollables))
    await asyncio.sleep(0)
    assert not polling.done()
    two.write(b"x")
    assert await polling == [1]
    one.end()
    assert world.call("wasi:io/poll", "poll", pollables) == [0, 1]
    assert world.call("wasi:io/poll", "[method]pollable.block", pollables[0]) is None


async def test_a_poll_that_is_given_up_leaves_nothing_behind() -> None:
    world, pipe, cell = World(), Pipe(), Cell()
    late = world.call("wasi:clocks/monotonic-clock", "subscribe-duration", 2**64 - 1)
    pollables = [world.stream("[method]input-stream.subscribe", InputStream(pipe)), CellFilled(cell), late]
    for _ in range(3):
        polling = asyncio.ensure_future(world.call("wasi:io/poll", "poll", pollables))
        await asyncio.sleep(0)
        polling.cancel()
        await asyncio.wait([polling])
    assert pipe._wake == []
    assert cell._waiters == []
    assert isinstance(late, Timer)
    assert late._handle is None


async def test_poll_of_nothing_traps() -> None:
    world = World()
    with pytest.raises(InvocationFailed):
        world.call("wasi:io/poll", "poll", [])


async def test_a_timer_waits_for_its_clock() -> None:
    now = 1_000
    world = World(monotonic=lambda: now)
    timer = world.call("wasi:clocks/monotonic-clock", "subscribe-instant", 2_000)
    assert not world.call("wasi:io/poll", "[method]pollable.ready", timer)
    waiting = asyncio.ensure_future(world.call("wasi:io/poll", "[method]pollable.block", timer))
    await asyncio.sleep(0)
    now = 2_000
    await waiting
    assert world.call("wasi:io/poll", "[method]pollable.ready", timer)
