"""1,000 invocations of a component in flight at one host, each waiting one second on a provider."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import yaml

from benchmarks.memory import resident_bytes
from benchmarks.result import Result, at_most
from tests.fixtures import components
from tests.fixtures.lattice import lattice
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.wit.types import FuncType, Primitive

__all__ = ["measure"]

INVOCATIONS, WAIT_MS = 1000, 1000
SECONDS, MEGABYTES = 2.0, 300.0
LATTICE = "default"
RUN = FuncType((("ms", Primitive.U64),), Primitive.U64)


async def measure() -> list[Result]:
    """Seconds until the last answer, and the memory of the host while all are in flight."""
    async with lattice() as running:
        manifest = _manifest(running.folder)
        await running.trellis("app", "deploy", str(manifest))
        (pid,) = running.host_pids
        connection = await Connection.connect(ConnectionSettings((running.nats_url,)), timeout=5.0)
        invoker = LatticeInvoker(connection, LATTICE)
        try:
            await _run(invoker, 1)
            started = time.perf_counter()
            calls = [asyncio.create_task(_run(invoker, WAIT_MS)) for _ in range(INVOCATIONS)]
            await asyncio.sleep(0.9)
            resident = resident_bytes(pid)
            answers = await asyncio.gather(*calls)
            seconds = time.perf_counter() - started
        finally:
            await invoker.aclose()
            await connection.aclose()
    if answers != [WAIT_MS] * INVOCATIONS:
        raise RuntimeError("some answers are wrong")
    return [
        at_most(f"{INVOCATIONS} invocations waiting 1 s on a provider, all answered", seconds, "s", SECONDS),
        at_most(f"{INVOCATIONS} invocations waiting, memory of the host", resident / 1e6, "MB", MEGABYTES),
    ]


async def _run(invoker: LatticeInvoker, ms: int) -> int:
    deadline = asyncio.get_running_loop().time() + 30
    call = Call("waiting-waiter", "test:waiter/waiter@0.1.0", "run", (ms,), RUN, deadline, "benchmark")
    answer: int = await invoker.invoke(call)
    return answer


def _manifest(folder: Path) -> Path:
    image = folder / "waiter.wasm"
    image.write_bytes(components.waiter())
    link = {"target": {"name": "provider"}, "namespace": "test", "package": "waiter", "interfaces": ["provider"]}
    waiter = {
        "name": "waiter",
        "type": "component",
        "properties": {"image": f"file://{image}"},
        "traits": [
            {"type": "spreadscaler", "properties": {"instances": INVOCATIONS}},
            {"type": "link", "properties": link},
        ],
    }
    provider = {
        "name": "provider",
        "type": "capability",
        "properties": {"image": "python:benchmarks.waiting_provider:Waiter"},
    }
    document = {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": "waiting", "annotations": {}},
        "spec": {"components": [waiter, provider]},
    }
    path = folder / "waiting.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
