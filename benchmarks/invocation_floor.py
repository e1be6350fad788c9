"""A call over the lattice against a bare nats-py request and reply of the same payload, to the same other process.

Both sides take turns in small batches, so that whatever else the machine does hits both alike. The calls are
part of a trace, as those of a component are: of one that is not recorded, which is what a busy lattice has
(50 new traces a second are); the cost of one that is recorded is reported beside it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import nats
import uvloop
from nats.aio.msg import Msg

from benchmarks.result import Result, at_most, percentile, reported
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.invocation.server import LatticeServer
from trellis_lattice.tracing.setup import start_tracing
from trellis_lattice.tracing.w3c import parse_traceparent
from trellis_lattice.wit.types import FuncType, Primitive

__all__ = ["measure"]

LATTICE, TARGET, BARE = "bench", "echo", "bench.echo"
ECHO = FuncType((("text", Primitive.STRING),), Primitive.STRING)
UNRECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
RECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BATCH, BATCHES = 100, 40
BOUND = 1.6


class Echo:
    """Answers its argument."""

    def function_type(self, interface: str, function: str) -> FuncType:
        return ECHO

    async def serve(self, call: Call) -> Any:
        return call.args[0]


async def measure() -> list[Result]:
    """Ratio of the medians, for short and for longer text; and calls per second with 64 in flight."""
    with tempfile.TemporaryDirectory() as folder:
        server = await EmbeddedNats.start(NatsServerSettings(Path(folder)))
        peer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.invocation_floor", server.url, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert peer.stdout is not None
            await peer.stdout.readline()
            return await _measure(server.url)
        finally:
            peer.terminate()
            await peer.wait()
            await server.stop()


async def _measure(url: str) -> list[Result]:
    bare = await nats.connect(url)
    connection = await Connection.connect(ConnectionSettings((url,)), timeout=5.0)
    tracing = start_tracing("NBENCH")
    invoker = LatticeInvoker(connection, LATTICE, tracing=tracing)
    loop = asyncio.get_running_loop()

    def call(text: str) -> Awaitable[Any]:
        return invoker.invoke(Call(TARGET, "bench:echo/echo@1.0.0", "echo", [text], ECHO, loop.time() + 10, "bench"))

    results: list[Result] = []
    try:
        for size in (64, 8192):
            text = "x" * size
            request = partial(bare.request, BARE, text.encode(), timeout=10)
            with tracing.span("bench", parent=parse_traceparent(UNRECORDED)):
                floor, ours = await _take_turns(request, partial(call, text))
            results += [
                reported(f"bare nats-py request and reply, {size} bytes, p50", floor * 1e6, "µs"),
                reported(f"call over the lattice, {size} bytes, p50", ours * 1e6, "µs"),
                at_most(f"call over the lattice / bare request and reply, {size} bytes, p50", ours / floor, "×", BOUND),
            ]
        with tracing.span("bench", parent=parse_traceparent(RECORDED)):
            floor, ours = await _take_turns(request, partial(call, "x" * 64))
        results.append(reported("call over the lattice, recorded / bare request and reply, p50", ours / floor, "×"))
        with tracing.span("bench", parent=parse_traceparent(UNRECORDED)):
            rate = await _throughput(partial(call, "x" * 64))
        results.append(reported("calls over the lattice, 64 in flight", rate, "1/s"))
    finally:
        await invoker.aclose()
        await connection.aclose()
        await tracing.aclose()
        await bare.close()
    return results


async def _take_turns(floor: Callable[[], Awaitable[Any]], ours: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """Medians in seconds."""
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(BATCHES):
        for operation, taken in zip((floor, ours), samples, strict=True):
            for number in range(BATCH):
                started = time.perf_counter()
                await operation()
                if number >= BATCH // 10:
                    taken.append(time.perf_counter() - started)
    return percentile(samples[0], 0.5), percentile(samples[1], 0.5)


async def _throughput(operation: Callable[[], Awaitable[Any]]) -> float:
    async def worker() -> None:
        for _ in range(100):
            await operation()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(64)))
    return 6400 / (time.perf_counter() - started)


async def _serve(url: str) -> None:
    """The other process: answers bare requests and calls until it is terminated."""
    bare = await nats.connect(url)

    async def respond(message: Msg) -> None:
        await message.respond(message.data)

    await bare.subscribe(BARE, queue=BARE, cb=respond)
    await bare.flush()
    connection = await Connection.connect(ConnectionSettings((url,)), timeout=5.0)
    server = await LatticeServer.start(connection, LATTICE, "NPEER", tracing=start_tracing("NPEER"))
    await server.serve(TARGET, Echo())
    await connection.flush(deadline=asyncio.get_running_loop().time() + 5)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(_serve(sys.argv[1]))
    else:
        print(json.dumps([result.as_json() for result in uvloop.run(measure())], indent=2, ensure_ascii=False))
