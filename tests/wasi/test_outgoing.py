"""Requests that components make."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import h11
import pytest
import pytest_asyncio

from tests.wasi.conftest import Subject
from tests.wasi.world import World, finished
from trellis_host.wasi import HttpClient, HttpGrants, Timeouts
from trellis_host.wasi.http.error_codes import code_of
from trellis_lattice.errors import TrellisError
from trellis_lattice.http import HttpRequest
from trellis_lattice.streams import Pipe, read_all
from trellis_lattice.wit.values import Case, Err, Ok

Answer = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection of a small HTTP server: what came in, and a way to answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.http = h11.Connection(h11.SERVER)
        self.reader = reader
        self.writer = writer
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    async def next(self) -> h11.Event:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.reader.read(65536))
        if isinstance(event, h11.Request):
            self.target, self.headers = event.target, event.headers.raw_items()
        return event

    async def body(self) -> bytes:
        data = b""
        while not isinstance(event := await self.next(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                data += event.data
        return data

    async def send(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()


class Server:
    """Answers each connection's one request with `answer`."""

    def __init__(self) -> None:
        self.port = 0
        self.answer: Answer = _hello
        self.peers: list[Peer] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        try:
            await self.answer(peer)
        except (ConnectionError, h11.ProtocolError):
            pass
        finally:
            writer.close()


async def _hello(peer: Peer) -> None:
    data = await peer.body()
    headers = [(b"Content-Length", str(len(data) + 6).encode()), (b"Set-Cookie", b"a=b")]
    await peer.send(h11.Response(status_code=201, headers=headers), h11.Data(data=b"hello " + data), h11.EndOfMessage())


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    yield server
    listener.close()
    await listener.wait_closed()


@pytest_asyncio.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.aclose()


def _world(owner: asyncio.TaskGroup, client: HttpClient, grant: str = "127.0.0.1:*") -> World:
    return World(owner, client=client, grants=HttpGrants([grant]))


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_granted_request_goes_out_and_its_answer_comes_back(
    probe: Subject, server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    assert await probe.text(_world(owner, client), f"/fetch/{server.port}") == "201 hello "
    peer = server.peers[0]
    assert peer.target == b"/from-component"
    assert dict(peer.headers) == {b"Host": f"127.0.0.1:{server.port}".encode()}


async def test_without_a_grant_nothing_goes_out(
    probe: Subject, server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    world = _world(owner, client, "example.com")
    assert await probe.text(world, f"/fetch/{server.port}") == "error-code 15"
    assert server.peers == []
    assert "denied" in world.lines[0]
    assert await probe.text(World(owner), f"/fetch/{server.port}") == "error-code 15"


async def test_bodies_stream_both_ways(
    probe: Subject, server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    upload, arrived = Pipe(), asyncio.Event()

    async def echo(peer: Peer) -> None:
        await peer.next()
        first = await peer.next()
        assert isinstance(first, h11.Data)
        arrived.set()
        data = bytes(first.data) + await peer.body()
        await peer.send(h11.Response(status_code=200, headers=[]))
        for start in range(0, len(data), 1000):
            await peer.send(h11.Data(data=data[start : start + 1000]))
        await peer.send(h11.EndOfMessage())

    server.answer = echo
    asking = asyncio.ensure_future(probe.text(_world(owner, client), f"/post/{server.port}", upload, method="POST"))
    upload.write(b"a" * 1000)
    await arrived.wait()
    upload.write(b"b" * 50_000)
    upload.end()
    assert await asking == "200 " + "a" * 1000 + "b" * 50_000


async def test_a_refused_connection_is_an_error_code(
    probe: Subject, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    assert await probe.text(_world(owner, client), f"/fetch/{_unused_port()}") == "error-code 6"


async def test_a_server_that_hangs_up_is_an_error_code(
    probe: Subject, server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.body()

    server.answer = hang_up
    assert await probe.text(_world(owner, client), f"/fetch/{server.port}") == "error-code 25"


async def test_a_component_that_ends_leaves_no_request_behind(
    probe: Subject, server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(peer: Peer) -> None:
        await peer.body()
        asked.set()
        await peer.reader.read()
        gone.set()

    server.answer = wait_for_the_end
    asking = asyncio.ensure_future(probe.request(_world(owner, client), f"/fetch/{server.port}"))
    await asked.wait()
    asking.cancel()
    await gone.wait()
    await probe.ended(1)


async def test_timeouts_and_the_parts_of_a_request(
    server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.reader.read()
        await peer.reader.read()

    server.answer = silent
    world = _world(owner, client)
    request = world.http("[constructor]outgoing-request", world.http("[constructor]fields"))
    world.http("[method]outgoing-request.set-scheme", request, Case("HTTP"))
    world.http("[method]outgoing-request.set-authority", request, f"127.0.0.1:{server.port}")
    options = world.http("[constructor]request-options")
    world.http("[method]request-options.set-first-byte-timeout", options, 10_000_000)
    world.http("[method]request-options.set-connect-timeout", options, 10_000_000)
    assert world.http("[method]request-options.first-byte-timeout", options) == 10_000_000
    future = world.call("wasi:http/outgoing-handler", "handle", request, options).value
    assert world.http("[method]future-incoming-response.get", future) is None
    pollable = world.http("[method]future-incoming-response.subscribe", future)
    await finished(world.call("wasi:io/poll", "[method]pollable.block", pollable))
    assert world.http("[method]future-incoming-response.get", future) == Ok(Err(Case("HTTP-response-timeout")))
    assert world.http("[method]future-incoming-response.get", future) == Err(None)
    world.context.close()


async def test_a_server_that_stops_sending_fails_the_body(
    server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    async def stall(peer: Peer) -> None:
        await peer.body()
        await peer.send(h11.Response(status_code=200, headers=[(b"content-length", b"10")]), h11.Data(data=b"12345"))
        await peer.reader.read()

    server.answer = stall
    world = _world(owner, client)
    request = world.http("[constructor]outgoing-request", world.http("[constructor]fields"))
    world.http("[method]outgoing-request.set-scheme", request, Case("HTTP"))
    world.http("[method]outgoing-request.set-authority", request, f"127.0.0.1:{server.port}")
    options = world.http("[constructor]request-options")
    world.http("[method]request-options.set-between-bytes-timeout", options, 200_000_000)
    future = world.call("wasi:http/outgoing-handler", "handle", request, options).value
    pollable = world.http("[method]future-incoming-response.subscribe", future)
    await finished(world.call("wasi:io/poll", "[method]pollable.block", pollable))
    response = world.http("[method]future-incoming-response.get", future).value.value
    assert world.http("[method]incoming-response.status", response) == 200
    body = world.http("[method]incoming-response.consume", response).value
    stream = world.http("[method]incoming-body.stream", body).value
    assert await finished(world.stream("[method]input-stream.blocking-read", stream, 100)) == Ok(b"12345")
    failed = await finished(world.stream("[method]input-stream.blocking-read", stream, 100))
    assert world.http("http-error-code", failed.value.value) == Case("connection-read-timeout")
    world.context.close()


@pytest.mark.parametrize(
    ("scheme", "answer", "code"),
    [
        ("https", b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "TLS-protocol-error"),
        ("http", b"nonsense\r\n\r\n", "HTTP-protocol-error"),
        ("http", b"HTTP/1.1 200 OK\r\n", "HTTP-response-incomplete"),
    ],
)
async def test_what_a_broken_server_is_called(scheme: str, answer: bytes, code: str, client: HttpClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises(TrellisError) as caught:
        await client.send(HttpRequest("GET", "/", scheme, f"127.0.0.1:{port}"), Timeouts(5, 5, 5))
    assert code_of(caught.value) == Case(code)
    listener.close()
    await listener.wait_closed()


async def test_a_body_that_ends_too_early_is_an_error(server: Server, client: HttpClient) -> None:
    async def short(peer: Peer) -> None:
        await peer.body()
        await peer.send(h11.Response(status_code=200, headers=[(b"content-length", b"10")]), h11.Data(data=b"12345"))

    server.answer = short
    request = HttpRequest("GET", "/", "http", f"127.0.0.1:{server.port}")
    response = await client.send(request, Timeouts(5, 5, 5))
    with pytest.raises(TrellisError) as caught:
        await read_all(response.body, 100)
    assert code_of(caught.value) == Case("HTTP-response-incomplete")
    await response.body.aclose()


async def test_the_client_follows_nothing_and_keeps_nothing(
    probe: Subject, server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    async def redirect(peer: Peer) -> None:
        await peer.body()
        headers = [(b"location", b"/elsewhere"), (b"content-length", b"0"), (b"set-cookie", b"a=b")]
        await peer.send(h11.Response(status_code=302, headers=headers), h11.EndOfMessage())

    server.answer = redirect
    for _ in range(2):
        assert await probe.text(_world(owner, client), f"/fetch/{server.port}") == "302 "
    assert len(server.peers) == 2
    assert all(b"cookie" not in {name.lower() for name, _ in peer.headers} for peer in server.peers)


async def test_an_answer_larger_than_the_buffers_is_not_kept_in_memory(
    probe: Subject, server: Server, owner: asyncio.TaskGroup, client: HttpClient
) -> None:
    sent = 0

    async def pour(peer: Peer) -> None:
        nonlocal sent
        await peer.body()
        await peer.send(h11.Response(status_code=200, headers=[]))
        for _ in range(250):
            await peer.send(h11.Data(data=b"x" * 65536))
            sent += 1
        await peer.send(h11.EndOfMessage())

    server.answer = pour
    response = await probe.request(_world(owner, client), f"/fetch/{server.port}")
    assert await response.body.read(4) == b"200 "
    before = -1
    while before != sent:
        before = sent
        for _ in range(50):
            await asyncio.sleep(0)
    assert sent < 200
    assert len(await read_all(response.body, 1 << 26)) == 250 * 65536
    await probe.ended(1)
