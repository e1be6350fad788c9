"""HTTP on real sockets: requests in, answers out."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import BytesBody, Pipe, read_all
from trellis_lattice.wit.values import Ok

from .conftest import Server, echo, hello, text

# Requests in


async def test_a_request_reaches_the_component_as_it_was_sent(server: Server) -> None:
    seen: list[HttpRequest] = []

    async def component(request: HttpRequest) -> object:
        seen.append(request)
        return Ok(text(await read_all(request.body, 100)))

    await server.serve(component)
    client = await server.connect()
    headers = {"host": "shop.example:80", "x-b": "1", "accept": "*/*", "connection": "keep-alive, x-hop", "x-hop": "y"}
    answer = await client.request("POST", "/a%2Fb/c?q=1&r=%20", headers, b"body")
    assert (answer.status, answer.body) == (200, b"body")
    request = seen[0]
    assert (request.method, request.path_with_query, request.scheme) == ("POST", "/a%2Fb/c?q=1&r=%20", "http")
    assert request.authority == "shop.example:80"
    assert dict(request.headers) == {
        "host": b"shop.example:80",
        "x-b": b"1",
        "accept": b"*/*",
        "content-length": b"4",
    }
    call = server.components.calls[0]
    assert (call.source, call.target, call.interface, call.function) == (
        "app-http",
        "echo",
        "wasi:http/incoming-handler",
        "handle",
    )


async def test_one_connection_carries_many_requests(server: Server) -> None:
    await server.serve(hello)
    client = await server.connect()
    for _ in range(3):
        answer = await client.request()
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.header("content-length") == b"5"
        assert answer.header("date") is not None
        assert answer.header("connection") is None
        assert answer.header("server") is None


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        return text((request.path_with_query or "").encode())

    await server.serve(component)
    client = await server.connect()
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % n for n in range(5)))
    received = b""
    while received.count(b"\r\n\r\n") < 5 or not received.endswith(b"/4"):
        received += await asyncio.wait_for(client.reader.read(4096), 10)
    assert [line for line in received.split(b"\r\n") if line.startswith(b"/")][-1] == b"/4"
    positions = [received.index(b"\r\n\r\n/%d" % n) for n in range(5)]
    assert positions == sorted(positions)


async def test_a_chunked_body_streams_in(server: Server) -> None:
    await server.serve(echo)
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await client.send(b"4\r\ndefg\r\n0\r\n\r\n")
    reply = await asyncio.wait_for(client.reader.readuntil(b"abcdefg"), 10)
    assert reply.startswith(b"HTTP/1.1 200")


async def test_continue_is_said_when_the_component_reads(server: Server) -> None:
    await server.serve(echo)
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
    assert (await asyncio.wait_for(client.reader.readline(), 10)).startswith(b"HTTP/1.1 100")
    await client.send(b"ok")
    assert (await asyncio.wait_for(client.reader.readuntil(b"ok"), 10)).strip().startswith(b"HTTP/1.1 200")


async def test_a_refused_request_is_not_told_to_continue(server: Server) -> None:
    async def refuse(request: HttpRequest) -> HttpResponse:
        return text(b"no", status=403)

    await server.serve(refuse)
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
    assert (await asyncio.wait_for(client.reader.readline(), 10)).startswith(b"HTTP/1.1 403")


async def test_a_large_body_is_taken_no_faster_than_the_component_reads(server: Server) -> None:
    gate = asyncio.Event()

    async def component(request: HttpRequest) -> HttpResponse:
        await gate.wait()
        size = 0
        while chunk := await request.body.read(65536):
            size += len(chunk)
        return text(str(size).encode())

    await server.serve(component)
    client = await server.connect()
    size = 32 * 1024 * 1024
    await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
    client.writer.write(b"x" * size)
    while not server.connection().flow.read_paused:
        await asyncio.sleep(0)
    assert client.writer.transport.get_write_buffer_size() > 1024 * 1024
    gate.set()
    assert b"33554432" in await asyncio.wait_for(client.reader.readuntil(b"33554432"), 20)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413(server: Server, chunked: bool) -> None:
    await server.serve(echo, max_body_bytes="10")
    client = await server.connect()
    if chunked:
        await client.send(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n14\r\n" + b"x" * 20 + b"\r\n0\r\n\r\n"
        )
    else:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n" + b"x" * 20)
    assert (await asyncio.wait_for(client.reader.readline(), 10)).startswith(b"HTTP/1.1 413")


async def test_an_unread_body_does_not_reset_the_answer(server: Server) -> None:
    await server.serve(echo, max_body_bytes="10")
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100)
    head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in head
    await client.send(b"x" * 99_900)
    assert (await asyncio.wait_for(client.reader.read(), 10)).startswith(b"413")


# Answers out


async def test_a_streamed_answer_arrives_piece_by_piece(server: Server) -> None:
    pipe = Pipe()

    async def component(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("content-type", b"text/event-stream")], pipe)

    await server.serve(component)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 10)
    assert b"transfer-encoding: chunked" in head
    for word in (b"one", b"three"):
        pipe.write(word)
        assert await asyncio.wait_for(client.reader.readuntil(word), 10) == b"%x\r\n%b" % (len(word), word)
        assert await client.reader.readexactly(2) == b"\r\n"
    pipe.end()
    assert await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), 10)


async def test_an_ended_pipe_goes_out_with_its_length(server: Server) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        pipe = Pipe()
        pipe.write(b"whole")
        pipe.end()
        return HttpResponse(200, [("content-length", b"99")], pipe)

    await server.serve(component)
    answer = await (await server.connect()).request()
    assert (answer.body, answer.header("content-length")) == (b"whole", b"5")


async def test_a_slow_client_slows_the_component(server: Server) -> None:
    pipe = Pipe(64 * 1024)

    async def component(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], pipe)

    await server.serve(component)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    written = 0
    while not server.connections or not server.connection().flow.write_paused:
        written += pipe.room
        pipe.write(b"x" * pipe.room)
        await asyncio.sleep(0)
    assert written < 64 * 1024 * 1024


async def test_a_body_that_fails_is_cut_off(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    pipe = Pipe()

    async def component(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], pipe)

    await server.serve(component)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    pipe.write(b"half")
    await asyncio.wait_for(client.reader.readuntil(b"half"), 10)
    pipe.abort("the component died")
    rest = b""
    with contextlib.suppress(ConnectionResetError):
        rest = await asyncio.wait_for(client.reader.read(), 10)
    assert b"0\r\n\r\n" not in rest
    assert "cut off" in caplog.text


@pytest.mark.parametrize("sent", [b"short", b"far too long"])
async def test_a_wrong_content_length_is_cut_off(server: Server, sent: bytes) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        pipe = Pipe()
        pipe.write(sent)
        asyncio.get_running_loop().call_soon(pipe.end)
        return HttpResponse(200, [("content-length", b"8")], pipe)

    await server.serve(component)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    try:
        received = await asyncio.wait_for(client.reader.read(), 10)
    except ConnectionResetError:
        received = b""
    assert len(received.partition(b"\r\n\r\n")[2]) != 8


async def test_head_has_the_length_and_no_body(server: Server) -> None:
    await server.serve(hello)
    client = await server.connect()
    for _ in range(2):
        answer = await client.request("HEAD")
        assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", b"5")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_body_have_no_length(server: Server, status: int) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        return text(b"ignored", status=status)

    await server.serve(component)
    client = await server.connect()
    for _ in range(2):
        answer = await client.request()
        assert (answer.status, answer.body, answer.header("content-length")) == (status, b"", None)
        assert answer.header("transfer-encoding") is None


async def test_hop_by_hop_fields_of_a_component_do_not_go_out(server: Server) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        fields = [("connection", b"x-a"), ("transfer-encoding", b"gzip"), ("keep-alive", b"1"), ("x-ok", b"1")]
        return HttpResponse(200, [*fields, ("date", b"yesterday")], BytesBody(b"hi"))

    await server.serve(component)
    answer = await (await server.connect()).request()
    assert sorted(name for name, _ in answer.headers) == ["content-length", "date", "x-ok"]


async def test_http_10_gets_a_length_instead_of_chunks(server: Server) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        pipe = Pipe()
        pipe.write(b"old")
        asyncio.get_running_loop().call_soon(pipe.end)
        return HttpResponse(200, [], pipe)

    await server.serve(component)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    received = await asyncio.wait_for(client.reader.read(), 10)
    assert b"content-length: 3" in received
    assert b"chunked" not in received
    assert received.endswith(b"\r\n\r\nold")


async def test_an_ordinary_client_is_content(server: Server) -> None:
    await server.serve(echo)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port()}") as client:
        answers = await asyncio.gather(*(client.post("/", content=b"x" * n * 50_000) for n in range(8)))
    assert [len(answer.content) for answer in answers] == [n * 50_000 for n in range(8)]
