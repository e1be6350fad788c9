"""A component's call of a component on another host, against a bare nats-py request and reply of the same payload.

Two hosts, each a process of its own. The first runs a component that calls its import again and again and takes
the time of each call itself; the second runs the component that answers, in a fresh sandbox each time. Both sides
take turns in small batches on one NATS server, so that whatever else the machine does hits both alike.

The calls are part of a trace that is not recorded, as nearly all are on a busy lattice (50 new traces a second
are recorded by default); the cost of recorded ones is reported beside it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bare_nats import BareNats
from benchmarks.result import Result, at_most, percentile, reported
from tests.fixtures import components
from tests.fixtures.lattice import lattice
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.tracing.setup import start_tracing
from trellis_lattice.tracing.w3c import parse_traceparent
from trellis_lattice.wit.types import FuncType, ListType, Primitive

__all__ = ["measure"]

LATTICE = "default"
TIME = FuncType((("times", Primitive.U32), ("text", Primitive.STRING)), ListType(Primitive.U64))
UNRECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
RECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BATCH, BATCHES, WARM = 100, 40, 10
BOUND = 1.6

Batch = Callable[[int], Awaitable[list[float]]]


async def measure() -> list[Result]:
    """Ratio of the medians for short and for longer text, and both medians."""
    async with lattice() as running, running.host("--label", "side=caller"), running.host("--label", "side=answerer"):
        await running.trellis("app", "deploy", str(_manifest(running.folder)), "--timeout", "60s")
        async with BareNats.running(running.nats_url) as bare:
            connection = await Connection.connect(ConnectionSettings((running.nats_url,)), timeout=5.0)
            tracing = start_tracing("NBENCH")
            invoker = LatticeInvoker(connection, LATTICE, tracing=tracing)
            try:
                results: list[Result] = []
                for size in (64, 8192):
                    with tracing.span("bench", parent=parse_traceparent(UNRECORDED)):
                        ratio, floor, ours = await _compare(invoker, bare, size)
                    name = f"component to component on another host, {size} bytes, unrecorded trace, p50"
                    results += [
                        at_most(name, ratio, "× bare nats-py request", BOUND),
                        reported(f"{name}: ours", ours * 1e6, "µs"),
                        reported(f"{name}: bare nats-py request and reply", floor * 1e6, "µs"),
                    ]
                with tracing.span("bench", parent=parse_traceparent(RECORDED)):
                    ratio, _, _ = await _compare(invoker, bare, 64)
                name = "component to component on another host, 64 bytes, recorded trace, p50"
                return [*results, reported(name, ratio, "× bare nats-py request")]
            finally:
                await invoker.aclose()
                await connection.aclose()
                await tracing.aclose()


async def _compare(invoker: LatticeInvoker, bare: BareNats, size: int) -> tuple[float, float, float]:
    """Ratio of the medians; the median of a bare request and of a component's call, in seconds."""
    sides: tuple[Batch, Batch] = (partial(bare.times, size=size), partial(_calls, invoker, text="x" * size))
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(BATCHES):
        for side, taken in zip(sides, samples, strict=True):
            taken += (await side(WARM + BATCH))[WARM:]
    floor, ours = (percentile(taken, 0.5) for taken in samples)
    return ours / floor, floor, ours


async def _calls(invoker: LatticeInvoker, times: int, text: str) -> list[float]:
    """Seconds of each of so many calls, as the component that made them saw it."""
    deadline = asyncio.get_running_loop().time() + 30
    interface = components.STOPWATCH.name
    call = Call("calls-caller", interface, "time", (times, text), TIME, deadline, "benchmark")
    return [nanoseconds / 1e9 for nanoseconds in await invoker.invoke(call)]


def _manifest(folder: Path) -> Path:
    link = {"target": {"name": "answerer"}, "namespace": "test", "package": "echo", "interfaces": ["echo"]}
    document = {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": "calls", "annotations": {}},
        "spec": {
            "components": [
                _component(folder, "caller", components.call_many(), {"type": "link", "properties": link}),
                _component(folder, "answerer", components.echo()),
            ]
        },
    }
    path = folder / "calls.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def _component(folder: Path, name: str, wasm: bytes, *traits: dict[str, Any]) -> dict[str, Any]:
    """A component of the manifest, on the host labelled with its name."""
    image = folder / f"{name}.wasm"
    image.write_bytes(wasm)
    spread = {"instances": 10, "spread": [{"name": name, "requirements": {"side": name}}]}
    return {
        "name": name,
        "type": "component",
        "properties": {"image": f"file://{image}"},
        "traits": [{"type": "spreadscaler", "properties": spread}, *traits],
    }


if __name__ == "__main__":
    print(json.dumps([result.as_json() for result in asyncio.run(measure())], indent=2, ensure_ascii=False))
