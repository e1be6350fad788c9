"""HTTP on real sockets: what clients see, whatever clients and components do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import httpx
import pytest

from trellis_lattice.errors import (
    ConfigError,
    Conflict,
    DeadlineExceeded,
    Denied,
    InvocationFailed,
    NotFound,
    Overloaded,
    TrellisError,
    Unavailable,
)
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import BytesBody, Pipe, read_all
from trellis_lattice.wit.values import Ok
from trellis_provider_sdk.listeners import BoundListeners
from trellis_providers.http_server import Bounds

from .conftest import Component, RawClient, Server, text


async def hello(request: HttpRequest) -> HttpResponse:
    return text(content_type="text/plain")


async def echo(request: HttpRequest) -> HttpResponse:
    return text(await read_all(request.body, 10_000_000))


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
    sent = client.writer.transport.get_write_buffer_size
    before = -1
    while before != sent():
        before = sent()
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert sent() > 1024 * 1024
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
    while written < 64 * 1024 * 1024:
        if not pipe.room:
            try:
                await asyncio.wait_for(pipe.drain(), 0.2)
            except TimeoutError:
                break
        pipe.write(b"x" * pipe.room)
        written += pipe.capacity
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
async def bounded() -> object:
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


# Routes


async def test_no_route_is_404_with_a_reason(server: Server) -> None:
    runner = await server.provider(routing_mode="path")
    await runner.link_put(server.link("a", path="/a"))
    client = await server.connect()
    answer = await client.request("GET", "/other")
    assert (answer.status, answer.body) == (404, b"404 Not Found: No component is linked to /other here.\n")


async def test_routes_of_two_applications_share_an_address(server: Server) -> None:
    for id, path in (("one", "/one"), ("two", "/two/*")):
        runner = await server.provider(f"{id}-http", routing_mode="path")
        server.components.by_id[id] = answering(id)
        await runner.link_put(server.link(id, f"{id}-http", path=path))
    client = await server.connect()
    assert (await client.request("GET", "/one?x=1")).body == b"one"
    assert (await client.request("GET", "/two/deep/er")).body == b"two"
    assert (await client.request("GET", "/two")).body == b"two"
    assert (await client.request("GET", "/one/deeper")).status == 404
    await server.runners["one-http"].stop()
    assert (await client.request("GET", "/one")).status == 404
    assert (await client.request("GET", "/two/")).body == b"two"


def answering(id: str) -> Component:
    async def component(request: HttpRequest) -> HttpResponse:
        return text(id.encode())

    return component


async def test_routes_by_host_name(server: Server) -> None:
    runner = await server.provider(routing_mode="host")
    for id in ("a.example", "b.example"):
        server.components.by_id[id] = answering(id)
        await runner.link_put(server.link(id, name=id[0], host=id.upper()))
    client = await server.connect()
    assert (await client.request(headers={"host": "A.example:8000"})).body == b"a.example"
    assert (await client.request(headers={"host": "b.example"})).body == b"b.example"
    assert (await client.request(headers={"host": "c.example"})).status == 404


async def test_two_links_for_one_route_conflict_and_name_both(server: Server) -> None:
    first, second = await server.provider("one-http"), await server.provider("two-http")
    server.components.by_id["one"] = hello
    await first.link_put(server.link("one", "one-http"))
    with pytest.raises(Conflict) as refused:
        await second.link_put(server.link("two", "two-http"))
    assert "one (provider one-http)" in refused.value.message
    assert "two (provider two-http)" in refused.value.message
    assert (await (await server.connect()).request()).status == 200


async def test_a_link_moves_to_another_component_and_address(server: Server) -> None:
    runner = await server.provider()
    server.components.by_id |= {"a": answering("a"), "b": answering("b")}
    await runner.link_put(server.link("a"))
    client = await server.connect()
    assert (await client.request()).body == b"a"
    await runner.link_delete(server.link("a").key)
    await runner.link_put(server.link("b"))
    assert (await (await server.connect()).request()).body == b"b"


async def test_a_port_in_use_is_a_conflict_that_names_it(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runner = await server.provider()
        with pytest.raises(Conflict, match=f"127.0.0.1:{port} is already in use"):
            await runner.link_put(server.link("a", address=f"127.0.0.1:{port}"))
    await runner.link_put(server.link("a", address=f"127.0.0.1:{port}"))
    assert server.port(port) == port


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"address": "8000"}, "8000"),
        ({"address": "127.0.0.1:99999"}, "99999"),
        ({"timeout_ms": "soon"}, "timeout_ms"),
        ({"readonly_mode": "maybe"}, "readonly_mode"),
        ({"path": "a"}, "path"),
        ({"config_json": "{"}, "config_json"),
        ({"config_b64": "%"}, "config_b64"),
        ({"tls_cert_file": "/x"}, "tls_cert_file"),
        ({"address": "203.0.113.7:80"}, "203.0.113.7"),
    ],
)
async def test_wrong_configuration_is_named(server: Server, config: dict[str, str], place: str) -> None:
    runner = await server.provider()
    with pytest.raises(ConfigError) as refused:
        await runner.link_put(server.link("a", **config))
    assert place in str(refused.value)
    assert not server.ingress.addresses


async def test_configuration_may_come_as_json(server: Server) -> None:
    await server.serve(hello, config_json='{"readonly_mode": true, "CACHE_CONTROL": "no-store"}')
    client = await server.connect()
    assert (await client.request()).header("cache-control") == b"no-store"
    refused = await client.request("POST", body=b"x")
    assert (refused.status, refused.header("allow")) == (405, b"GET, HEAD")


# Draining


async def test_draining_says_close_and_resets_nobody(server: Server) -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def component(request: HttpRequest) -> HttpResponse:
        if request.path_with_query == "/slow":
            started.set()
            await gate.wait()
        return text()

    await server.serve(component)
    idle, busy = await server.connect(), await server.connect()
    await idle.request()
    answer = asyncio.create_task(busy.request("GET", "/slow"))
    await asyncio.wait_for(started.wait(), 10)
    port = server.port()
    stopping = asyncio.create_task(server.runners["app-http"].stop(grace=10))
    while not await refuses(port):
        await asyncio.sleep(0)
    late = await idle.request()
    assert (late.status, late.header("connection")) == (200, b"close")
    assert await idle.at_end()
    gate.set()
    slow = await answer
    assert (slow.status, slow.header("connection")) == (200, b"close")
    await asyncio.wait_for(stopping, 10)


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False


async def test_stopping_without_grace_ends_everything(server: Server) -> None:
    started = asyncio.Event()

    async def component(request: HttpRequest) -> HttpResponse:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    await server.serve(component)
    idle, busy = await server.connect(), await server.connect()
    await busy.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(started.wait(), 10)
    ingress, port = server.ingress, server.port()
    stopping = asyncio.create_task(server.runners["app-http"].stop())
    assert await idle.at_end()
    await asyncio.wait_for(stopping, 10)
    assert await refuses(port)
    assert not ingress.addresses


async def test_a_handed_over_socket_stays_open_for_others(server: Server) -> None:
    shared = await BoundListeners().open("127.0.0.1", 0)

    class HandedOver:
        async def open(self, host: str, port: int) -> socket.socket:
            return shared.dup()

        async def release(self, listener: socket.socket) -> None:
            listener.close()

    first, second = Server(), Server()
    for each, name in ((first, b"first"), (second, b"second")):
        runner = await each.provider()
        each.ingress._listeners = HandedOver()
        each.components.by_id["a"] = answering(name.decode())
        await runner.link_put(each.link("a"))
    await first.aclose()
    port = shared.getsockname()[1]
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    assert (await client.request()).body == b"second"
    await client.aclose()
    await second.aclose()
    shared.close()
