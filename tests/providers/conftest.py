"""An http-server on a free port, the components behind it as plain functions, and a strict raw client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import h11
import pytest

from trellis_lattice.errors import Unavailable
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.invocation.api import Call
from trellis_lattice.streams import BytesBody, read_all
from trellis_lattice.tracing import Tracing
from trellis_provider_sdk import ProviderLink, ProviderRunner
from trellis_provider_sdk.testing import FakeContext, Shared
from trellis_providers.http_server import Bounds, HttpServer, Ingress
from trellis_providers.http_server.connection import Connection

Component = Callable[[HttpRequest], Awaitable[object]]


class Components:
    """An `Invoker` whose targets are functions; remembers the calls it got."""

    def __init__(self) -> None:
        self.by_id: dict[str, Component] = {}
        self.calls: list[Call] = []

    async def invoke(self, call: Call) -> object:
        self.calls.append(call)
        component = self.by_id.get(call.target)
        if component is None:
            raise Unavailable(f"Nobody answers for {call.target}.", retry_after=2.0)
        return await component(call.args[0])


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, bytes]]
    body: bytes
    informational: list[int] = field(default_factory=list)

    def header(self, name: str) -> bytes | None:
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, f"{name} was sent {len(found)} times"
        return found[0] if found else None


class RawClient:
    """One connection. What the server sends is parsed by h11, which accepts nothing malformed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def request(
        self, method: str = "GET", target: str = "/", headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Sends a request and reads its answer."""
        fields = {"host": "test", **(headers or {})}
        if body:
            fields.setdefault("content-length", str(len(body)))
        await self.send(self.http.send(h11.Request(method=method, target=target, headers=list(fields.items()))) or b"")
        if body:
            await self.send(self.http.send(h11.Data(body)) or b"")
        await self.send(self.http.send(h11.EndOfMessage()) or b"")
        answer = await self.answer()
        if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
            self.http.start_next_cycle()
        return answer

    async def event(self) -> object:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await asyncio.wait_for(self.reader.read(65536), 10))
        return event

    async def answer(self) -> Answer:
        informational: list[int] = []
        body = b""
        head: h11.Response | None = None
        while True:
            event = await self.event()
            if isinstance(event, h11.InformationalResponse):
                informational.append(event.status_code)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = [(name.decode(), value) for name, value in head.headers]
                return Answer(head.status_code, headers, body, informational)
            else:
                raise AssertionError(f"no answer but {event}")

    async def at_end(self) -> bool:
        """Whether the server has closed cleanly, after whatever it sent last."""
        return await asyncio.wait_for(self.reader.read(), 10) == b""

    async def aclose(self) -> None:
        self.writer.close()


class Server:
    """One or more http-servers on one host."""

    def __init__(self, bounds: Bounds | None = None, tracing: Tracing | None = None) -> None:
        self.components = Components()
        self.common = Shared()
        self.tracing = tracing or Tracing()
        self.runners: dict[str, ProviderRunner] = {}
        self._clients: list[RawClient] = []
        self.bounds = bounds

    async def provider(self, id: str = "app-http", **config: str) -> ProviderRunner:
        context = FakeContext(
            id,
            self.components,
            "default",
            {"default_address": "127.0.0.1:0", **config},
            self.common,
            tracing=self.tracing,
        )
        ingress = Ingress(context.listeners, self.tracing, self.bounds)
        self.common.get(Ingress, lambda: ingress)
        runner = self.runners[id] = ProviderRunner(HttpServer(), context)
        await runner.start()
        return runner

    @property
    def ingress(self) -> Ingress:
        found: Ingress = self.common.get(Ingress, lambda: pytest.fail("no provider was started"))
        return found

    def port(self, port: int = 0) -> int:
        return self.ingress.addresses["127.0.0.1", port][1]

    def link(self, component: str, provider: str = "app-http", name: str = "default", **config: str) -> ProviderLink:
        return ProviderLink(provider, component, name, "wasi", "http", ("incoming-handler",), config)

    async def serve(self, component: Component, **config: str) -> None:
        """A provider linked to one component, `echo`."""
        runner = await self.provider()
        self.components.by_id["echo"] = component
        await runner.link_put(self.link("echo", **config))

    @property
    def connections(self) -> list[Connection]:
        """The server's ends of all connections."""
        return [each for opened in self.ingress._open.values() for each in opened.listener._connections()]

    def connection(self) -> Connection:
        (only,) = self.connections
        return only

    async def connect(self, port: int = 0) -> RawClient:
        client = RawClient(*await asyncio.open_connection("127.0.0.1", self.port(port)))
        self._clients.append(client)
        return client

    async def aclose(self) -> None:
        for client in self._clients:
            await client.aclose()
        for runner in self.runners.values():
            await runner.stop()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    yield made
    await made.aclose()


def text(body: bytes = b"hello", status: int = 200, **headers: str) -> HttpResponse:
    """A complete answer."""
    fields = [(name.replace("_", "-"), value.encode()) for name, value in headers.items()]
    return HttpResponse(status, fields, BytesBody(body))


async def hello(request: HttpRequest) -> HttpResponse:
    return text(content_type="text/plain")


async def echo(request: HttpRequest) -> HttpResponse:
    return text(await read_all(request.body, 10_000_000))


def answering(id: str) -> Component:
    """A component that answers with its own name."""

    async def component(request: HttpRequest) -> HttpResponse:
        return text(id.encode())

    return component


async def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False
