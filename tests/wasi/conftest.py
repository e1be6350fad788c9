"""One engine for all these tests, and the components they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.fixtures import components
from tests.wasi.world import World
from tools.build import BUILD
from trellis_host.engine import Engine, EngineSettings, LinkedComponent
from trellis_host.engine.api import Limits
from trellis_host.wasi import WasiImports, start_http
from trellis_lattice.http import HANDLE, INCOMING_HANDLER, HttpRequest, HttpResponse
from trellis_lattice.streams import BytesBody, ByteStream, Fields, read_all

HERE = Path(__file__).parent


class Subject:
    """A component under test; `over` counts the invocations that have ended."""

    def __init__(self, linked: LinkedComponent) -> None:
        self.linked = linked
        self.handle = linked.export(INCOMING_HANDLER, HANDLE)
        self.limits = Limits()
        self.over = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def request(
        self,
        world: World,
        path: str,
        body: ByteStream | bytes = b"",
        *,
        method: str = "GET",
        headers: Fields | None = None,
        timeout: float = 10.0,
    ) -> HttpResponse:
        """Has the component answer; the body may still be coming."""
        stream = BytesBody(body) if isinstance(body, bytes) else body
        request = HttpRequest(method, path, "http", "example.com", headers or [], stream)
        deadline = asyncio.get_running_loop().time() + timeout
        world.context.deadline = deadline
        return await start_http(
            self.linked, self.handle, request, world.context, self.limits, deadline, done=self._done
        )

    async def text(self, world: World, path: str, body: ByteStream | bytes = b"", **options: Any) -> str:
        """The whole body of the answer, once the component is over."""
        before = self.over
        response = await self.request(world, path, body, **options)
        text = (await read_all(response.body, 1 << 26)).decode()
        await self.ended(before + 1)
        return text

    async def ended(self, count: int) -> None:
        """Waits until that many invocations have ended."""
        while self.over < count:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def _done(self) -> None:
        self.over += 1
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.set_result(None)


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[Engine]:
    # compiling a Python component takes seconds, so its code is kept between runs
    engine = Engine(EngineSettings(max_in_flight=64, cache_dir=BUILD / "test-code"))
    yield engine
    await engine.aclose()


@pytest_asyncio.fixture
async def load(engine: Engine) -> Callable[[bytes], Any]:
    """Loads and links a component to WASI."""

    async def load(wasm: bytes) -> Subject:
        component = await engine.load(wasm)
        return Subject(component.link(WasiImports()))

    return load


@pytest_asyncio.fixture
async def probe(load: Callable[[bytes], Any]) -> Subject:
    return await load((HERE / "components" / "probe.wasm").read_bytes())


@pytest_asyncio.fixture
async def cases(load: Callable[[bytes], Any]) -> Subject:
    return await load(components.http_cases())


@pytest_asyncio.fixture
async def owner() -> AsyncIterator[asyncio.TaskGroup]:
    """Where the tasks of invocations live; a test that leaves one running does not end."""
    async with asyncio.TaskGroup() as group:
        yield group
