"""A lattice for a campaign: NATS servers and hosts as processes on the machines of a network."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.faults.network import Machine, Network
from tests.fixtures.lattice import ROOT, free_port, trellis
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import find_binary
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.lease_rules import LeaseRecord
from trellis_lattice.client import LatticeClient
from trellis_lattice.control.host import HostInventory
from trellis_lattice.errors import TrellisError
from trellis_lattice.ids import HostKey
from trellis_lattice.subjects import trellis_bucket
from trellis_wadm.reconciler import LEASE

__all__ = ["Fleet", "HostProcess", "NatsNode"]

PATIENCE = 30.0
LATTICE = "faults"


@dataclass(slots=True)
class NatsNode:
    """One NATS server."""

    machine: Machine
    port: int
    route: int
    folder: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://{self.machine.address}:{self.port}"


@dataclass(slots=True)
class HostProcess:
    """One `trellis host run`."""

    machine: Machine
    key: HostKey
    folder: Path
    labels: Mapping[str, str]
    nats_url: str
    process: asyncio.subprocess.Process | None = None

    @property
    def id(self) -> str:
        return self.key.id

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def log(self, size: int = 3000) -> str:
        """The end of what it has logged."""
        return (self.folder / "log").read_text(errors="replace")[-size:]

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)


@dataclass(slots=True)
class Fleet:
    """What runs where: an `async with` block that ends all of it."""

    network: Network
    folder: Path
    nodes: list[NatsNode] = field(default_factory=list)
    hosts: dict[str, HostProcess] = field(default_factory=dict)
    _connection: Connection | None = None

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.aclose()
        for host in self.hosts.values():
            if host.alive:
                host.signal(signal.SIGCONT)
                host.signal(signal.SIGTERM)
        for host in self.hosts.values():
            await _ended(host.process)
        for node in self.nodes:
            if node.process is not None and node.process.returncode is None:
                node.process.terminate()
            await _ended(node.process)

    # NATS

    async def start_nats(self, size: int = 1) -> None:
        """One server, or a cluster of three."""
        for number in range(size):
            machine = await self.network.machine(f"nats{number}")
            folder = self.folder / f"nats{number}"
            folder.mkdir()
            self.nodes.append(NatsNode(machine, self._port(4222), self._port(6222), folder))
        await asyncio.gather(*(self.run_node(node) for node in self.nodes))
        self._connection = await Connection.connect(
            ConnectionSettings(urls=[node.url for node in self.nodes]), timeout=PATIENCE, patient=True
        )
        await self._jetstream_ready()

    def _port(self, usual: int) -> int:
        return usual if self.network.real else free_port()

    async def run_node(self, node: NatsNode) -> None:
        lines = [
            f"server_name: {node.machine.name}",
            f'listen: "{node.machine.address}:{node.port}"',
            'ping_interval: "1s"',
            "ping_max: 2",
            'write_deadline: "2s"',
            f"jetstream: {{ store_dir: {json.dumps(str(node.folder))} }}",
        ]
        if len(self.nodes) > 1:
            routes = ", ".join(f'"nats-route://{each.machine.address}:{each.route}"' for each in self.nodes)
            lines.append(
                f'cluster: {{ name: faults, listen: "{node.machine.address}:{node.route}", routes: [{routes}], '
                'ping_interval: "1s" }'
            )
        (node.folder / "nats.conf").write_text("\n".join(lines) + "\n")
        node.process = await self._spawn(
            node.machine, [str(find_binary()), "-c", str(node.folder / "nats.conf")], node.folder / "nats.log"
        )

    async def _jetstream_ready(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while True:
            try:
                await open_bucket(self.connection, "READY", deadline=loop.time() + 2)
                return
            except TrellisError:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(0.1)

    @property
    def connection(self) -> Connection:
        assert self._connection is not None
        return self._connection

    @property
    def nats_url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    @property
    def gateway(self) -> str:
        """The address of the campaign itself, as machines see it."""
        return self.network.gateway

    async def cluster_whole(self) -> None:
        """Waits until every server answers and every replica of every bucket is current."""
        async with asyncio.timeout(PATIENCE):
            while not await self._replicas_current():
                await asyncio.sleep(0.1)

    async def _replicas_current(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            answer = await self.connection.request("$JS.API.STREAM.LIST", b"{}", deadline=loop.time() + 2)
        except TrellisError:
            return False
        clusters = [stream.get("cluster", {}) for stream in json.loads(answer.data).get("streams") or []]
        return all(
            "leader" in each and all(replica.get("current") for replica in each.get("replicas") or [])
            for each in clusters
        )

    async def spawn_load(self, machine: Machine, port: int, rate: float, seconds: float) -> asyncio.subprocess.Process:
        """A load on a machine itself, for when nobody else reaches it."""
        command = [sys.executable, "-m", "tests.faults.load", "127.0.0.1", str(port), str(rate), str(seconds)]
        return await asyncio.create_subprocess_exec(*machine.prefix, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)

    # Hosts

    async def start_host(self, name: str, *, nats_url: str | None = None, **labels: str) -> HostProcess:
        """A new host on a machine of its own; returns when it has joined."""
        machine = await self.network.machine(name)
        folder = self.folder / name
        folder.mkdir()
        host = HostProcess(
            machine, HostKey.from_bytes(os.urandom(32)), folder, {"name": name, **labels}, nats_url or self.nats_url
        )
        self.hosts[name] = host
        await self.run_host(host)
        return host

    async def run_host(self, host: HostProcess) -> None:
        """Starts the process of a host, also again after its death, and waits until it has joined."""
        command = [sys.executable, "-m", "trellis_cli", "host", "run", "--nats-url", host.nats_url]
        command += ["--lattice", LATTICE, "--seed", host.key.seed, "--data-dir", str(host.folder)]
        command += ["--cache-dir", str(self._cache())]
        for name, value in host.labels.items():
            command += ["--label", f"{name}={value}"]
        host.process = await self._spawn(host.machine, command, host.folder / "log")
        await self.until_joined(host)

    def _cache(self) -> Path:
        """Compiled code, shared: every machine has fetched and compiled before."""
        folder = self.folder / "cache"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    async def stop_host(self, host: HostProcess) -> None:
        """SIGTERM, and its end."""
        host.signal(signal.SIGTERM)
        await self.gone(host)

    async def gone(self, host: HostProcess) -> None:
        assert host.process is not None
        async with asyncio.timeout(PATIENCE):
            await host.process.wait()

    async def _spawn(self, machine: Machine, command: list[str], log: Path) -> asyncio.subprocess.Process:
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *machine.prefix, *command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )

    async def until_joined(self, host: HostProcess) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while await self.inventory(host) is None:
            if not host.alive or asyncio.get_running_loop().time() > deadline:
                raise RuntimeError(f"{host.labels['name']} did not join:\n{host.log()}")
            await asyncio.sleep(0.05)

    # What is

    async def inventory(self, host: HostProcess) -> HostInventory | None:
        try:
            return await LatticeClient(self.connection, LATTICE).inventory(host.id, timeout=1.0)
        except TrellisError:
            return None

    async def reached_through(self, nodes: Sequence[NatsNode], component: str) -> list[str]:
        """The hosts that run the component, as the rest of a broken cluster sees it."""
        settings = ConnectionSettings(urls=[node.url for node in nodes])
        connection = await Connection.connect(settings, timeout=PATIENCE, patient=True)
        try:
            client = LatticeClient(connection, LATTICE)
            found = await client.inventories(timeout=2.0)
        finally:
            await connection.aclose()
        return [each.labels["name"] for each in found if _instances([each], component)]

    async def inventories(self) -> dict[str, HostInventory]:
        """By the names of the hosts that answer."""
        found = await asyncio.gather(*(self.inventory(host) for host in self.hosts.values()))
        return {name: each for name, each in zip(self.hosts, found, strict=True) if each is not None}

    async def runs(self, component: str) -> list[str]:
        """The hosts that run a component of that name in any application."""
        return [
            name
            for name, each in (await self.inventories()).items()
            if any(what.id.endswith(f"-{component}") for what in each.components)
        ]

    async def until_runs(self, component: str, on: int, *, seconds: float = PATIENCE) -> list[str]:
        """Waits until exactly `on` hosts run the component, and says which."""
        async with asyncio.timeout(seconds):
            while len(names := await self.runs(component)) != on:
                await asyncio.sleep(0.05)
        return names

    async def until_instances(
        self, component: str, total: int, *, of: Sequence[str] = (), seconds: float = PATIENCE
    ) -> None:
        """Waits until the hosts `of` answer, and exactly so many instances may run on all hosts together."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.inventories()
                if found.keys() >= set(of) and _instances(found.values(), component) == total:
                    return
                await asyncio.sleep(0.02)

    async def until_image(self, component: str, image: str, *, on: int, seconds: float = 2 * PATIENCE) -> None:
        """Waits until the component runs on so many hosts, and everywhere from that image."""
        async with asyncio.timeout(seconds):
            while (images := await self._images(component)) != [image] * on:
                assert len(images) <= on, f"{component} runs on {len(images)} hosts"
                await asyncio.sleep(0.05)

    async def _images(self, component: str) -> list[str]:
        return [
            what.image_ref
            for each in (await self.inventories()).values()
            for what in each.components
            if what.id.endswith(f"-{component}")
        ]

    async def holder(self) -> str | None:
        """The name of the host that holds the lease."""
        loop = asyncio.get_running_loop()
        bucket = await open_bucket(self.connection, trellis_bucket(LATTICE), deadline=loop.time() + 5)
        entry = await bucket.get(LEASE, deadline=loop.time() + 5)
        record = LeaseRecord.decode(entry.value) if entry is not None else None
        return next((name for name, host in self.hosts.items() if record and host.id == record.holder), None)

    async def until_held(self, *, by_other_than: str = "", seconds: float = PATIENCE) -> str:
        async with asyncio.timeout(seconds):
            while (name := await self.holder()) is None or name == by_other_than:
                await asyncio.sleep(0.05)
        return name

    async def deploy(self, name: str, document: dict[str, object]) -> None:
        """Deploys a manifest and waits until all of it runs."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        await trellis(
            "app", "deploy", str(path), "--timeout", "60s", "--nats-url", self.nats_url, "--lattice", LATTICE,
            environment={},
        )  # fmt: skip

    async def applications(self) -> list[str]:
        """The names of all applications, as the command line lists them."""
        document: Any = await self.trellis("app", "list")
        entries = document["applications"] if isinstance(document, dict) else document
        return [each["name"] for each in entries]

    async def trellis(self, *arguments: str) -> Any:
        return await trellis(*arguments, "--nats-url", self.nats_url, "--lattice", LATTICE, environment={})


def _instances(inventories: Iterable[HostInventory], component: str) -> int:
    return sum(
        what.max_instances for each in inventories for what in each.components if what.id.endswith(f"-{component}")
    )


async def _ended(process: asyncio.subprocess.Process | None, grace: float = 15.0) -> None:
    if process is None:
        return
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
