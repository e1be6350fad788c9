"""What clients get when something fails, and what they may not do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from trellis_lattice.errors import (
    DeadlineExceeded,
    Denied,
    InvocationFailed,
    NotFound,
    Overloaded,
    TrellisError,
    Unavailable,
)
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import Pipe
from trellis_lattice.wit.values import Ok
from trellis_providers.http_server import Bounds

from .conftest import Server, hello, text

# Errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("x"), 503),
        (Overloaded("x", retry_after=7.2), 503),
        (DeadlineExceeded("x"), 504),
        (InvocationFailed("secret backtrace"), 500),
        (NotFound("x"), 502),
        (Denied("x"), 403),
        (TrellisError("secret"), 500),
    ],
)
async def test_errors_become_statuses(
    server: Server, error: TrellisError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        raise error

    await server.serve(component)
    client = await server.connect()
    answer = await client.request("POST", body=b"x")
    assert answer.status == status
    assert answer.header("content-type") == b"text/plain; charset=utf-8"
    assert b"secret" not in answer.body
    assert error.message in caplog.text
    assert answer.header("retry-after") == ({"overloaded": b"8", "unavailable": b"1"}.get(error.code))
    assert (await client.request()).status == status, "the connection goes on"


@pytest.mark.parametrize("result", [None, "text", Ok(None)])
async def test_what_is_no_response_is_502(server: Server, result: object) -> None:
    async def component(request: HttpRequest) -> object:
        return result

    await server.serve(component)
    assert (await (await server.connect()).request()).status == 502


async def test_the_deadline_comes_from_the_link(server: Server) -> None:
    await server.serve(hello, timeout_ms="1500")
    before = asyncio.get_running_loop().time()
    await (await server.connect()).request()
    assert before + 1.5 <= server.components.calls[0].deadline <= asyncio.get_running_loop().time() + 1.5


async def test_a_client_that_leaves_cancels_the_component(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def component(request: HttpRequest) -> HttpResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    await server.serve(component)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(started.wait(), 10)
    client.writer.transport.abort()
    await asyncio.wait_for(cancelled.wait(), 10)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_that_leaves_ends_the_streaming(server: Server) -> None:
    pipe = Pipe()

    async def component(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], pipe)

    await server.serve(component)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 10)
    client.writer.transport.abort()
    while not pipe.reader_gone:
        await asyncio.wait_for(pipe.changed(), 10)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\nhost x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ],
)
async def test_malformed_requests_are_400(server: Server, request_bytes: bytes) -> None:
    await server.serve(hello)
    client = await server.connect()
    await client.send(request_bytes)
    assert (await asyncio.wait_for(client.reader.read(), 10)).startswith(b"HTTP/1.1 400")
    assert (await (await server.connect()).request()).status == 200


# Bounds


@pytest.fixture
async def bounded() -> AsyncIterator[Server]:
    made = Server(Bounds(head=0.01, head_bytes=1000, stalled_write=0.01, keep_alive=1, connections=2))
    yield made
    await made.aclose()


async def test_endless_headers_are_431(bounded: Server) -> None:
    await bounded.serve(hello)
    client = await bounded.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 2000)
    assert (await asyncio.wait_for(client.reader.readline(), 10)).startswith(b"HTTP/1.1 431")


async def test_a_slow_head_is_408(bounded: Server) -> None:
    await bounded.serve(hello)
    client = await bounded.connect()
    await client.send(b"GET / HT")
    assert (await asyncio.wait_for(client.reader.read(), 10)).startswith(b"HTTP/1.1 408")


async def test_a_silent_client_is_closed(bounded: Server) -> None:
    await bounded.serve(hello)
    assert await (await bounded.connect()).at_end()


async def test_a_client_that_takes_nothing_is_cut_off(bounded: Server) -> None:
    pipe = Pipe()

    async def component(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], pipe)

    await bounded.serve(component)
    client = await bounded.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(20):
        while not pipe.reader_gone:
            await pipe.drain()
            pipe.write(b"x" * pipe.room)


async def test_connections_are_bounded(bounded: Server) -> None:
    gate = asyncio.Event()

    async def component(request: HttpRequest) -> HttpResponse:
        await gate.wait()
        return text()

    await bounded.serve(component)
    clients = [await bounded.connect() for _ in range(2)]
    answers = [asyncio.create_task(client.request()) for client in clients]
    while len(bounded.components.calls) < 2:
        await asyncio.sleep(0)
    waiting = await bounded.connect()
    third = asyncio.create_task(waiting.request())
    gate.set()
    assert [(await answer).status for answer in answers] == [200, 200]
    assert len(bounded.components.calls) == 2
    await clients[0].aclose()
    assert (await third).status == 200
