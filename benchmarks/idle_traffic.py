"""What hosts say where nothing happens: bytes per second of each one's connection, as the NATS server counts them."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import yaml

from benchmarks.result import Result, at_most, reported
from tests.fixtures import components
from tests.fixtures.lattice import ROOT, free_port, trellis
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings

__all__ = ["measure"]

HOSTS, COMPONENTS = 3, 100
SETTLING, SECONDS = 5.0, 60.0
"""After the deployment has been told; then two intervals of the heartbeat that carries the whole inventory."""
BYTES_PER_SECOND = 2048.0


async def measure() -> list[Result]:
    """The busiest host, which also holds the lease, and the quietest."""
    async with AsyncExitStack() as life:
        folder = Path(life.enter_context(tempfile.TemporaryDirectory(prefix="trellis-idle-")))
        monitor = free_port()
        settings = NatsServerSettings(folder / "nats", extra={"http": f'"127.0.0.1:{monitor}"'})
        nats = await EmbeddedNats.start(settings, timeout=10.0)
        life.push_async_callback(nats.stop)
        for number in range(HOSTS):
            host = await _host(nats.url, folder, number)
            life.push_async_callback(_end, host)
        manifest = _manifest(folder)
        await trellis("app", "deploy", str(manifest), "--timeout", "120s", "--nats-url", nats.url, environment={})
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{monitor}", timeout=10.0) as client:
            await asyncio.sleep(SETTLING)
            before, started = await _bytes(client), time.perf_counter()
            await asyncio.sleep(SECONDS)
            after, seconds = await _bytes(client), time.perf_counter() - started
    rates = sorted((after[name] - before[name]) / seconds for name in before)
    if len(rates) != HOSTS:
        raise RuntimeError(f"{len(rates)} hosts are connected, not {HOSTS}")
    what = f"idle host with {COMPONENTS} components, one of {HOSTS}, bytes sent and received"
    return [
        at_most(f"{what}: the busiest", rates[-1], "B/s", BYTES_PER_SECOND),
        reported(f"{what}: the quietest", rates[0], "B/s"),
    ]


async def _bytes(client: httpx.AsyncClient) -> dict[str, int]:
    """Bytes in both directions, by the name of a host's connection."""
    found = (await client.get("/connz")).json()["connections"]
    return {c["name"]: c["in_bytes"] + c["out_bytes"] for c in found if c.get("name", "").startswith("trellis-host")}


async def _host(nats_url: str, folder: Path, number: int) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "trellis_cli", "host", "run", "--nats-url", nats_url]
    places = ["--data-dir", str(folder / f"host-{number}"), "--cache-dir", str(folder / "cache")]
    with (folder / f"host-{number}.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(*command, *places, cwd=ROOT, stdout=log, stderr=log)


async def _end(host: asyncio.subprocess.Process) -> None:
    if host.returncode is None:
        host.terminate()
    await host.wait()


def _manifest(folder: Path) -> Path:
    """`COMPONENTS` components on every host."""
    image = folder / "add.wasm"
    image.write_bytes(components.add())
    trait = {"type": "daemonscaler", "properties": {"instances": 10}}
    declared = [
        {"name": f"add-{n}", "type": "component", "properties": {"image": image.as_uri()}, "traits": [trait]}
        for n in range(COMPONENTS)
    ]
    manifest = {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": "idle", "annotations": {"version": "v1"}},
        "spec": {"components": declared},
    }
    path = folder / "idle.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return path
