"""One trace across two hosts, put together from what both remember; and OTLP export to a real collector."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.invocation.conformance import Scripted
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.errors import InvocationFailed, RequestInvalid
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.invocation.server import LatticeServer
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.tracing import SpanKind, Tracing
from trellis_lattice.tracing.query import gather_trace, serve_traces, span_tree
from trellis_lattice.tracing.setup import start_tracing
from trellis_lattice.wit import FuncType, Primitive

ECHO = FuncType((("text", Primitive.STRING),), Primitive.STRING)


class Host:
    """A host's data plane with a tracing of its own."""

    def __init__(self, connection: Connection, lattice: str, name: str) -> None:
        self.name = name
        self.lattice = lattice
        self.connection = connection
        self.tracing: Tracing = start_tracing(name, environ={}, clock=lambda: 0.0)
        self.invoker = LatticeInvoker(connection, lattice, tracing=self.tracing, host=name)
        self.tasks = Tasks()
        self.server: LatticeServer

    async def start(self) -> None:
        self.server = await LatticeServer.start(self.connection, self.lattice, self.name, tracing=self.tracing)
        assert self.tracing.recent is not None
        await serve_traces(self.connection, self.lattice, self.tracing.recent, self.tasks)

    async def serve(self, target: str, service: Scripted) -> None:
        await self.server.serve(target, service)
        await self.connection.flush(deadline=asyncio.get_running_loop().time() + 5)

    async def call(self, target: str, function: str, text: str) -> Any:
        deadline = asyncio.get_running_loop().time() + 5
        return await self.invoker.invoke(Call(target, "a:b/c@1.0.0", function, [text], ECHO, deadline, "caller"))

    async def aclose(self) -> None:
        await self.invoker.aclose()
        await self.server.aclose()
        await self.tasks.aclose()
        await self.tracing.aclose()
        await self.connection.aclose()


@pytest_asyncio.fixture
async def hosts(nats_server: str, lattice: str) -> AsyncIterator[list[Host]]:
    hosts = []
    for name in ("NONE", "NTWO"):
        connection = await Connection.connect(ConnectionSettings(urls=(nats_server,)), timeout=5)
        hosts.append(Host(connection, lattice, name))
        await hosts[-1].start()
    yield hosts
    for host in hosts:
        await host.aclose()


async def test_the_whole_tree_of_a_request_over_two_hosts(hosts: list[Host]) -> None:
    one, two = hosts

    async def backend(call: Call) -> str:
        return call.args[0].upper()

    async def frontend(call: Call) -> str:
        return f"<{await one.call('backend', 'shout', call.args[0])}>"

    await two.serve("backend", Scripted({"shout": (ECHO, backend)}))
    await one.serve("frontend", Scripted({"wrap": (ECHO, frontend)}))
    with one.tracing.span("GET /", SpanKind.SERVER) as root:
        assert await two.call("frontend", "wrap", "hi") == "<HI>"
    spans = await gather_trace(two.connection, two.lattice, root.trace_id, timeout=5, hosts=2)
    [tree] = span_tree(spans)
    walked = list(tree.walk())
    assert [(depth, span.name, span.kind, span.host) for depth, span in walked] == [
        (0, "GET /", "server", "NONE"),
        (1, "a:b/c/wrap", "client", "NTWO"),
        (2, "a:b/c/wrap", "server", "NONE"),
        (3, "a:b/c/shout", "client", "NONE"),
        (4, "a:b/c/shout", "server", "NTWO"),
    ]
    assert all(span.attributes["trellis.route"] == "lattice" for depth, span in walked if depth)
    for (_, outer), (_, inner) in itertools.pairwise(walked):
        assert outer.start <= inner.start <= inner.end <= outer.end


async def test_a_failure_marks_every_span_on_its_way_and_is_logged_with_its_trace(
    hosts: list[Host], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = hosts

    async def trap(call: Call) -> str:
        raise InvocationFailed("trapped", trap="unreachable")

    await two.serve("backend", Scripted({"trap": (ECHO, trap)}))
    with pytest.raises(InvocationFailed), one.tracing.span("root") as root:
        await one.call("backend", "trap", "x")
    spans = await gather_trace(one.connection, one.lattice, root.trace_id, timeout=5, hosts=2)
    assert [(span.name, span.status, span.message) for span in spans] == [
        ("root", "error", "trapped"),
        ("a:b/c/trap", "error", "trapped"),
        ("a:b/c/trap", "error", "trapped"),
    ]
    [record] = [record for record in caplog.records if "a:b/c@1.0.0/trap of backend failed: trapped" in record.message]
    assert record.__dict__["trace_id"] == root.trace_id


async def test_an_unrecorded_trace_crosses_without_spans(hosts: list[Host]) -> None:
    one, two = hosts
    seen: list[tuple[str | None, str | None]] = []

    async def look(call: Call) -> str:
        seen.append(two.tracing.inject())
        return ""

    await two.serve("backend", Scripted({"look": (ECHO, look)}))
    with Tracing().span("x", parent=one.tracing.extract([("traceparent", UNSAMPLED)])):
        await one.call("backend", "look", "x")
    assert seen == [(UNSAMPLED.decode(), None)]
    assert await gather_trace(one.connection, one.lattice, UNSAMPLED.decode()[3:35], timeout=5, hosts=2) == []


UNSAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


async def test_what_is_no_trace_id_is_refused(hosts: list[Host]) -> None:
    with pytest.raises(RequestInvalid):
        await gather_trace(hosts[0].connection, hosts[0].lattice, "xyz")


async def test_spans_are_exported_to_a_configured_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        received.append(head.split(b"\r\n")[0] + b" " + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    collector = await asyncio.start_server(collect, "127.0.0.1", 0)
    async with collector:
        endpoint = f"http://127.0.0.1:{collector.sockets[0].getsockname()[1]}"
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        tracing = start_tracing("NHOST", environ=environ, clock=lambda: 0.0)
        with tracing.span("exported-span"):
            pass
        await tracing.aclose()
    [request] = received
    assert request.startswith(b"POST /v1/traces HTTP/1.1")
    assert b"exported-span" in request
    assert b"trellis-host" in request
