"""HTTP bodies, called as a component would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from tests.wasi.world import World, finished
from trellis_host.wasi.http.bodies import IncomingBody
from trellis_lattice.errors import TrellisError, Unavailable
from trellis_lattice.streams import BytesBody, Fields, Pipe
from trellis_lattice.wit.values import Case, Err, Ok


class Drip:
    """A stream that comes piece by piece from elsewhere, and may fail at its end."""

    def __init__(self, pieces: Iterable[bytes], trailers: Fields | None = None, error: TrellisError | None = None):
        self.pieces = list(pieces)
        self.error = error
        self.closed = False
        self._trailers = trailers

    async def read(self, limit: int) -> bytes:
        await asyncio.sleep(0)
        if self.pieces:
            return self.pieces.pop(0)
        if self.error:
            raise self.error
        return b""

    async def trailers(self) -> Fields | None:
        return self._trailers

    async def aclose(self) -> None:
        self.closed = True


async def _read_all(world: World, body: IncomingBody) -> bytes | Err[Case]:
    stream = world.http("[method]incoming-body.stream", body).value
    data = b""
    while True:
        answer = await finished(world.stream("[method]input-stream.blocking-read", stream, 2**60))
        if isinstance(answer, Err):
            return data if answer.value == Case("closed") else answer
        data += answer.value


async def _trailers(world: World, body: IncomingBody) -> object:
    future = world.http("[static]incoming-body.finish", body)
    pollable = world.http("[method]future-trailers.subscribe", future)
    await finished(world.call("wasi:io/poll", "[method]pollable.block", pollable))
    answer = world.http("[method]future-trailers.get", future)
    assert world.http("[method]future-trailers.get", future) == Err(None)
    return answer


async def test_every_kind_of_source_is_read_whole_with_its_trailers() -> None:
    data, trailers = bytes(range(256)) * 1000, [("x-sum", b"9"), ("connection", b"close")]
    piped = Pipe(len(data))
    piped.write(data)
    piped.end(trailers)
    dripping = Drip([data[i : i + 5000] for i in range(0, len(data), 5000)], trailers)
    async with asyncio.TaskGroup() as group:
        for source in (BytesBody(data, trailers), piped, dripping):
            world = World(group)
            body = IncomingBody(source)
            assert await _read_all(world, body) == data
            answer = await _trailers(world, body)
            assert answer.value.value.entries == [("x-sum", b"9")]
    assert dripping.closed


async def test_trailers_come_even_if_the_body_is_not_read() -> None:
    async with asyncio.TaskGroup() as group:
        answer = await _trailers(World(group), IncomingBody(Drip([b"x" * 50_000] * 10, [("a", b"b")])))
    assert answer.value.value.entries == [("a", b"b")]


async def test_no_trailers_are_none() -> None:
    assert await _trailers(World(), IncomingBody(BytesBody(b"abc"))) == Ok(Ok(None))


async def test_a_source_that_fails_fails_the_stream_with_an_http_error_code() -> None:
    async with asyncio.TaskGroup() as group:
        world = World(group)
        answer = await _read_all(world, IncomingBody(Drip([b"x"], error=Unavailable("gone", maybe_executed=True))))
        assert isinstance(answer, Err)
        assert world.http("http-error-code", answer.value.value) == Case("connection-terminated")


async def test_back_pressure_reaches_the_source() -> None:
    source = Drip([b"x" * 10_000] * 100)
    async with asyncio.TaskGroup() as group:
        world = World(group)
        body = IncomingBody(source)
        stream = world.http("[method]incoming-body.stream", body).value
        await finished(world.stream("[method]input-stream.blocking-read", stream, 1))
        while world.stream("[method]input-stream.read", stream, 1).value and len(source.pieces) > 93:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(source.pieces) > 80
        world.context.close()
    assert source.closed


async def test_a_source_is_closed_once_body_and_stream_are_dropped() -> None:
    world, source = World(), Pipe()
    source.write(b"abc")
    body = IncomingBody(source)
    stream = world.http("[method]incoming-body.stream", body).value
    body.drop()
    assert world.stream("[method]input-stream.read", stream, 10) == Ok(b"abc")
    assert not source.reader_gone
    stream.drop()
    assert source.reader_gone


def test_body_and_stream_are_given_once() -> None:
    world = World()
    response = world.http("[constructor]outgoing-response", world.http("[constructor]fields"))
    body = world.http("[method]outgoing-response.body", response).value
    assert world.http("[method]outgoing-response.body", response) == Err(None)
    assert isinstance(world.http("[method]outgoing-body.write", body), Ok)
    assert world.http("[method]outgoing-body.write", body) == Err(None)


@pytest.mark.parametrize("written", [b"abc", b"abcdef", b""])
def test_a_body_has_the_length_it_declared_or_an_error(written: bytes) -> None:
    world = World()
    headers = world.http("[static]fields.from-list", [("content-length", b"3")]).value
    response = world.http("[constructor]outgoing-response", headers)
    body = world.http("[method]outgoing-response.body", response).value
    stream = world.http("[method]outgoing-body.write", body).value
    answer = world.stream("[method]output-stream.blocking-write-and-flush", stream, written)
    if len(written) > 3:
        assert world.http("http-error-code", answer.value.value) == Case("HTTP-response-body-size", 6)
    else:
        assert answer == Ok(None)
    ended = world.http("[static]outgoing-body.finish", body, None)
    if written == b"abc":
        assert ended == Ok(None)
        assert body.pipe.take_all() == b"abc"
    else:
        assert ended == Err(Case("HTTP-response-body-size", len(written)))
        assert body.pipe.failure is not None


def test_a_body_that_is_dropped_unfinished_looks_broken() -> None:
    world = World()
    response = world.http("[constructor]outgoing-response", world.http("[constructor]fields"))
    body = world.http("[method]outgoing-response.body", response).value
    body.drop(world.context)
    assert body.pipe.failure is not None


@pytest.mark.parametrize(("status", "good"), [(99, False), (101, False), (200, True), (599, True), (600, False)])
def test_status_codes(status: int, good: bool) -> None:
    world = World()
    response = world.http("[constructor]outgoing-response", world.http("[constructor]fields"))
    answer = world.http("[method]outgoing-response.set-status-code", response, status)
    assert answer == (Ok(None) if good else Err(None))


@pytest.mark.parametrize(
    ("setter", "good", "bad"),
    [
        ("set-method", Case("post"), Case("other", "A B")),
        ("set-path-with-query", "/a?b=ä", "/a b"),
        ("set-path-with-query", None, "/a\r\nb"),
        ("set-scheme", Case("HTTPS"), Case("other", "a b")),
        ("set-authority", "example.com:80", "user@example.com"),
        ("set-authority", None, "a/b"),
    ],
)
def test_parts_of_a_request_are_checked(setter: str, good: object, bad: object) -> None:
    world = World()
    request = world.http("[constructor]outgoing-request", world.http("[constructor]fields"))
    assert world.http(f"[method]outgoing-request.{setter}", request, good) == Ok(None)
    assert world.http(f"[method]outgoing-request.{setter}", request, bad) == Err(None)
    assert world.http(f"[method]outgoing-request.{setter.removeprefix('set-')}", request) == good
