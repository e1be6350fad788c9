"""100 hosts in one process, on a real NATS server: from deploying 1,000 components until the status says Deployed.

Only the engine is simulated; every host is a candidate for the lease and listens to everything a host listens to.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.memory import resident_bytes
from benchmarks.result import Result, at_most, reported
from benchmarks.simulated_engine import SimulatedEngine
from trellis_host.host import Host
from trellis_host.settings import HostSettings
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.errors import Unavailable
from trellis_lattice.ids import HostKey
from trellis_wadm.api import StatusReport, WadmClient
from trellis_wadm.planner.result import StatusType
from trellis_wadm.reconciler import ReconcilerService

__all__ = ["measure"]

HOSTS, COMPONENTS = 100, 1000
SECONDS = 15.0
PATIENCE = 120.0
"""Seconds after which the benchmark gives up."""
LATTICE = "hundred"


async def measure() -> list[Result]:
    """Seconds from the deploy request to the status, and the memory of all hosts together."""
    async with AsyncExitStack() as life:
        folder = Path(life.enter_context(tempfile.TemporaryDirectory(prefix="trellis-hundred-")))
        nats = await EmbeddedNats.start(NatsServerSettings(folder / "nats"), timeout=10.0)
        life.push_async_callback(nats.stop)
        started = time.perf_counter()
        await _start_hosts(nats.url, folder, life)
        joined = time.perf_counter() - started
        connection = await Connection.connect(ConnectionSettings((nats.url,)), timeout=10.0)
        life.push_async_callback(connection.aclose)
        deployed = await _deploy(WadmClient(connection, LATTICE), _manifest(folder))
        resident = resident_bytes(os.getpid())
    what = f"{HOSTS} hosts in one process"
    return [
        at_most(f"{what}, {COMPONENTS} components: deployed", deployed, "s", SECONDS),
        reported(f"{what}: all joined", joined, "s"),
        reported(f"{what}: memory of the process", resident / 1e6, "MB"),
    ]


async def _start_hosts(url: str, folder: Path, life: AsyncExitStack) -> None:
    hosts = [_host(url, folder, number) for number in range(HOSTS)]
    running = [asyncio.create_task(host.run(), name=host.settings.friendly_name) for host in hosts]

    async def end() -> None:
        for host in hosts:
            host.request_stop(grace=0.0)
        await asyncio.gather(*running)

    life.push_async_callback(end)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(host.ready.wait() for host in hosts))


def _host(url: str, folder: Path, number: int) -> Host:
    name = f"host-{number}"
    settings = HostSettings(
        key=HostKey.from_bytes(hashlib.sha256(name.encode()).digest()),
        friendly_name=name,
        cache_dir=folder / "cache",
        nats=ConnectionSettings(urls=(url,), name=name),
        lattice=LATTICE,
        connect_timeout=60.0,
    )
    reconciler = ReconcilerService(LATTICE, settings.key.id, boot=number)
    return Host(settings, services=[reconciler], make_engine=SimulatedEngine)


async def _deploy(client: WadmClient, manifest: str) -> float:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    over = asyncio.Event()

    def see(report: StatusReport) -> None:
        if report.type is StatusType.DEPLOYED:
            over.set()

    subscription = await client.watch_status("many", see)
    await _put(client, manifest, deadline)
    started = time.perf_counter()
    await client.deploy("many", deadline=deadline)
    async with asyncio.timeout_at(deadline):
        await over.wait()
    seconds = time.perf_counter() - started
    await subscription.unsubscribe()
    return seconds


async def _put(client: WadmClient, manifest: str, deadline: float) -> None:
    """Waits for the first scheduler: a host is ready a moment before its scheduler is."""
    while True:
        try:
            await client.put(manifest, deadline=deadline)
            return
        except Unavailable as error:
            if error.fields.get("reason") != "no-scheduler" or asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(0.05)


def _manifest(folder: Path) -> str:
    image = folder / "component.wasm"
    image.write_bytes(b"\0asm")
    trait = {"type": "spreadscaler", "properties": {"instances": 1}}
    declared = [
        {"name": f"c-{n}", "type": "component", "properties": {"image": image.as_uri()}, "traits": [trait]}
        for n in range(COMPONENTS)
    ]
    return json.dumps(
        {
            "apiVersion": "core.oam.dev/v1beta1",
            "kind": "Application",
            "metadata": {"name": "many", "annotations": {"version": "v1"}},
            "spec": {"components": declared},
        }
    )
