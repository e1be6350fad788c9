"""One HTTP request into a component of a few KB through engine and WASI, without a socket; against the bare loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from benchmarks.floors import HttpLoop
from benchmarks.result import Result, at_most, percentile, reported
from tests.fixtures import components
from trellis_host.engine import Engine, EngineSettings, Limits, LinkedComponent
from trellis_host.wasi import WasiContext, WasiImports, WasiSettings, start_http
from trellis_lattice.http import HANDLE, INCOMING_HANDLER, HttpRequest, HttpResponse
from trellis_lattice.streams import read_all

__all__ = ["measure"]

ROUNDS, REQUESTS = 12, 300
BOUND = 1.6
LIMITS = Limits()
COMPONENTS: dict[str, Callable[[], bytes]] = {"C": components.http_hello_c, "WAT": components.http_hello_wat}


async def measure() -> list[Result]:
    """Per language: the ratio of the medians, and both medians in microseconds."""
    results: list[Result] = []
    for language, make in COMPONENTS.items():
        engine = Engine(EngineSettings(max_in_flight=256))
        try:
            component = await engine.load(make())
            results += await _compare(language, component.link(WasiImports()), make())
        finally:
            await engine.aclose()
    return results


async def _compare(language: str, linked: LinkedComponent, wasm: bytes) -> list[Result]:
    floor = HttpLoop(wasm)
    ours: list[float] = []
    bare: list[float] = []
    try:
        expected = floor.request()
        if await _answer(linked) != expected:
            raise RuntimeError("the engine and the bare loop answer differently")
        for _ in range(ROUNDS):
            bare += [_timed(floor.request) for _ in range(REQUESTS)]
            ours += await _many(linked)
    finally:
        floor.close()
    fast, slow = percentile(bare, 0.5), percentile(ours, 0.5)
    return [
        at_most(f"HTTP hello, engine and WASI, {language}", slow / fast, "× bare loop", BOUND),
        reported(f"HTTP hello, engine and WASI, {language}: ours", slow * 1e6, "µs"),
        reported(f"HTTP hello, engine and WASI, {language}: bare loop", fast * 1e6, "µs"),
    ]


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _nothing(*_: object) -> None:
    return None


async def _many(linked: LinkedComponent) -> list[float]:
    samples: list[float] = []
    async with asyncio.TaskGroup() as owner:
        settings = WasiSettings(component="hello", log=_nothing, owner=owner)
        for _ in range(REQUESTS):
            started = time.perf_counter()
            await _request(linked, settings)
            samples.append(time.perf_counter() - started)
    return samples


async def _request(linked: LinkedComponent, settings: WasiSettings) -> HttpResponse:
    export = linked.export(INCOMING_HANDLER, HANDLE)
    deadline = asyncio.get_running_loop().time() + 30
    context = WasiContext(settings, deadline)
    request = HttpRequest("GET", "/", "http", "127.0.0.1")
    return await start_http(linked, export, request, context, LIMITS, deadline=deadline, done=_nothing)


async def _answer(linked: LinkedComponent) -> bytes:
    async with asyncio.TaskGroup() as owner:
        response = await _request(linked, WasiSettings(component="hello", log=_nothing, owner=owner))
        return await read_all(response.body, 1 << 20)
