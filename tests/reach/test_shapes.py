"""The NATS set-ups of docs/production.md, with real servers: a cluster that loses one, leaf nodes, least privilege."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fixtures import components
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv import Change, KeyValueBucket
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.lease import Lease
from trellis_lattice.bus.streams import raise_replicas, replicas
from trellis_lattice.client import LatticeClient
from trellis_lattice.errors import Denied, TrellisError, Unavailable
from trellis_lattice.nkeys import KeyPair, Role
from trellis_wadm.api.client import WadmClient
from trellis_wadm.api.messages import PutResult

from .documented import ROOT, documented
from .hosts import host_on
from .servers import PATIENCE, NatsNode, cluster_of, eventually, filled, free_ports, running, single, soon


@asynccontextmanager
async def connected(*nodes: NatsNode, domain: str | None = None) -> AsyncIterator[Connection]:
    settings = ConnectionSettings(urls=[node.url for node in nodes], jetstream_domain=domain)
    connection = await Connection.connect(settings, timeout=20)
    try:
        yield connection
    finally:
        await connection.aclose()


async def leader_of(connection: Connection, bucket: str) -> str:
    info = await JetStream(connection).call(f"STREAM.INFO.KV_{bucket}", deadline=soon())
    return str(info["cluster"]["leader"])


async def three_copies(connection: Connection, name: str) -> None:
    """Opens a bucket until all three servers keep it: the first time, some may not have joined yet."""
    async with asyncio.timeout(40):
        while True:
            await open_bucket(connection, name, deadline=soon(40))
            if replicas(await JetStream(connection).call(f"STREAM.INFO.KV_{name}", deadline=soon())) == 3:
                return
            await asyncio.sleep(0.05)


async def test_state_survives_losing_the_server_that_leads_it(tmp_path: Path) -> None:
    nodes = cluster_of(tmp_path, documented("cluster"))
    async with running(*nodes), connected(*nodes) as connection:
        await three_copies(connection, "STATE")
        leader = await leader_of(connection, "STATE")
        others = [node for node in nodes if node.name != leader]
        seen: dict[str, bytes | None] = {}

        def see(change: Change) -> None:
            seen[change.key] = change.value

        async with connected(*others) as steady:
            bucket = await open_bucket(steady, "STATE", deadline=soon())
            watch = await bucket.watch(see, deadline=soon())
            lease = Lease(bucket, "lease", "me", 1)
            lease.start()
            await eventually(lambda: lease.held)
            written = 0

            async def write(count: int) -> None:
                nonlocal written
                for _ in range(count):
                    assert await bucket.put(f"k{written}", b"%d" % written, deadline=soon(30), expected=0)
                    written += 1

            await write(50)
            next(node for node in nodes if node.name == leader).end()
            await write(50)
            await eventually(lambda: lease.held)
            await eventually(lambda: len(seen) >= written)
            entries = await bucket.entries(deadline=soon())
            assert {key: entry.value for key, entry in entries.items() if key != "lease"} == {
                f"k{number}": b"%d" % number for number in range(100)
            }
            await lease.aclose()
            await watch.aclose()


async def test_copies_are_added_when_there_are_servers_for_them(tmp_path: Path) -> None:
    nodes = cluster_of(tmp_path, documented("cluster"))
    async with running(*nodes), connected(*nodes) as connection:
        await open_bucket(connection, "OURS", deadline=soon(40))
        jetstream = JetStream(connection)
        info = await jetstream.call("STREAM.INFO.KV_OURS", deadline=soon())
        # As if they had been made while there was one server; the second by another tool.
        await jetstream.call("STREAM.UPDATE.KV_OURS", {**info["config"], "num_replicas": 1}, deadline=soon())
        foreign = {"name": "KV_THEIRS", "subjects": ["$KV.THEIRS.>"], "num_replicas": 1}
        await jetstream.call("STREAM.CREATE.KV_THEIRS", foreign, deadline=soon())
        for name in ("OURS", "THEIRS"):
            await open_bucket(connection, name, deadline=soon())
        ours, theirs = [await jetstream.call(f"STREAM.INFO.KV_{name}", deadline=soon()) for name in ("OURS", "THEIRS")]
        assert (replicas(ours), replicas(theirs)) == (3, 1)
        assert await raise_replicas(jetstream, theirs, deadline=soon()) == 3


async def test_a_single_server_keeps_one_copy(tmp_path: Path) -> None:
    node = single(tmp_path / "n")
    async with running(node), connected(node) as connection:
        await open_bucket(connection, "B", deadline=soon())
        assert replicas(await JetStream(connection).call("STREAM.INFO.KV_B", deadline=soon())) == 1


async def fill(bucket: KeyValueBucket) -> None:
    for number in range(100):
        await bucket.put(f"k{number}", b"x" * 50_000, deadline=soon())


async def test_a_full_jetstream_says_so_and_the_host_stays(tmp_path: Path) -> None:
    node = single(tmp_path / "n", jetstream="max_file_store: 1MB")
    settings = ConnectionSettings(urls=(node.url,))
    async with running(node), connected(node) as connection, host_on(settings, tmp_path) as host:
        client = LatticeClient(connection)
        await client.put_config("small", {"a": "b"}, timeout=10)
        bucket = await open_bucket(connection, "BIG", deadline=soon())
        with pytest.raises(Unavailable) as caught:
            await fill(bucket)
        assert caught.value.fields["reason"] == "storage-full"
        assert "max_file_store" in str(caught.value)
        with pytest.raises(TrellisError, match="no room left in JetStream"):
            await client.put_config("more", {"a": "b" * 1000}, timeout=10)
        assert await client.config("small", timeout=10) == {"a": "b"}
        assert [found.id for found in await client.hosts(timeout=5)] == [host.state.host_id]
        await JetStream(connection).call("STREAM.PURGE.KV_BIG", deadline=soon())
        await client.put_config("more", {"a": "b"}, timeout=10)


def leaf_and_hub(folder: Path) -> tuple[NatsNode, NatsNode]:
    hub_port, leaf_port, between = free_ports(3)
    hub = filled(
        documented("hub"),
        {
            "0.0.0.0:4222": f"127.0.0.1:{hub_port}",
            "/var/lib/nats": str(folder / "hub-js"),
            "0.0.0.0:7422": f"127.0.0.1:{between}",
        },
    )
    leaf = filled(
        documented("leaf"),
        {
            "0.0.0.0:4223": f"127.0.0.1:{leaf_port}",
            "/var/lib/nats-leaf": str(folder / "leaf-js"),
            "nats-leaf://hub:7422": f"nats-leaf://127.0.0.1:{between}",
        },
    )
    return NatsNode("hub", folder / "hub", hub_port, hub), NatsNode("leaf", folder / "leaf", leaf_port, leaf)


async def heard(client: LatticeClient) -> None:
    """What is subscribed to beyond a leaf node is known here a moment later."""
    async with asyncio.timeout(PATIENCE):
        while not await client.hosts(timeout=1):
            pass


@pytest.mark.parametrize(("hosts_on", "domain"), [("leaf", "hub"), ("hub", "leaf-1")])
async def test_state_in_the_other_domain(hosts_on: str, domain: str, tmp_path: Path) -> None:
    """A host beyond a leaf node keeps its state in the domain it is told, and in no other."""
    nodes = dict(zip(("hub", "leaf"), leaf_and_hub(tmp_path), strict=True))
    here = nodes.pop(hosts_on)
    (there,) = nodes.values()
    async with running(there, here):
        settings = ConnectionSettings(urls=(here.url,), jetstream_domain=domain)
        async with connected(there) as beyond, connected(here) as local:
            await eventually(lambda: "Leafnode connection created" in here.log)
            async with host_on(settings, tmp_path) as host:
                client = LatticeClient(beyond)
                await heard(client)
                await client.put_config("c", {"a": "b"}, timeout=10)
                assert [found.id for found in await client.hosts(timeout=5)] == [host.state.host_id]
                bucket = await open_bucket(beyond, "CONFIGDATA_default", deadline=soon(), create=False)
                assert list(await bucket.entries(deadline=soon())) == ["c"]
                streams = await JetStream(local).call("STREAM.NAMES", deadline=soon())
                assert not streams.get("streams")


class Users:
    """The users of the documented permissions, with keys of their own."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.keys = {
            name: KeyPair.from_bytes(Role.USER, os.urandom(32)) for name in ("HOST", "COMMAND", "PROVIDER", "OBSERVER")
        }
        text = filled(
            documented("permissions"),
            {"0.0.0.0:4222": f"127.0.0.1:{port}", "/var/lib/nats": str(folder / "js")}
            | {f"nkey: U{name}": f"nkey: {key.public}" for name, key in self.keys.items()},
        )
        self.node = NatsNode("n", folder / "n", port, text)

    def settings(self, name: str) -> ConnectionSettings:
        return ConnectionSettings(urls=(self.node.url,), name=name, seed=self.keys[name].seed)

    @asynccontextmanager
    async def connected(self, name: str) -> AsyncIterator[Connection]:
        connection = await Connection.connect(self.settings(name), timeout=10)
        try:
            yield connection
        finally:
            await connection.aclose()


MANIFEST = """
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {{name: demo, annotations: {{version: v1}}}}
spec:
  components:
    - name: echo
      type: component
      properties: {{image: "{image}"}}
      traits: [{{type: spreadscaler, properties: {{instances: 1}}}}]
"""


async def until_scheduled(applications: WadmClient, manifest: str) -> PutResult:
    """The first scheduler of a lattice needs a moment to know that it is one."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await applications.put(manifest, deadline=soon())
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_the_documented_permissions_are_enough_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    users = Users(tmp_path)
    wasm = tmp_path / "echo.wasm"
    wasm.write_bytes(components.echo())
    caplog.set_level(logging.WARNING)
    async with running(users.node), host_on(users.settings("HOST"), tmp_path) as host:
        async with users.connected("COMMAND") as connection:
            applications, client = WadmClient(connection, "default"), LatticeClient(connection)
            put = await until_scheduled(applications, MANIFEST.format(image=wasm.as_uri()))
            await applications.deploy(put.name, deadline=soon())
            await eventually(lambda: bool(host.state.components))
            await client.put_config("c", {"a": "b"}, timeout=10)
            assert await client.config("c", timeout=10) == {"a": "b"}
            inventories = await client.inventories(timeout=10)
            assert [one.host_id for one in inventories] == [host.state.host_id]
            bucket = await open_bucket(connection, "CONFIGDATA_default", deadline=soon(), create=False)
            assert list(await bucket.entries(deadline=soon())) == ["c"]
            assert connection.refusals.all == []
            with pytest.raises(Denied):
                await bucket.put("c", b"forged", deadline=soon())
        async with users.connected("OBSERVER") as connection:
            client = LatticeClient(connection)
            assert len(await client.inventories(timeout=10)) == 1
            assert connection.refusals.all == []
            with pytest.raises(Denied, match="may not publish to wasmbus"):
                await client.put_config("c", {"a": "c"}, timeout=10)
        # Of all that was tried only what this test tried on purpose was refused.
        refused = re.findall(r"may not \w+ to (\S+)\.", caplog.text)
        assert refused == ["$KV.CONFIGDATA_default.c", "wasmbus.ctl.v1.default.config.put.c"]


def test_the_shipped_files_are_the_documented_ones() -> None:
    unit = ROOT / "docs/production/trellis-host.service"
    assert documented("production/trellis-host.service") == unit.read_text()
    if verify := shutil.which("systemd-analyze"):
        answer = subprocess.run([verify, "verify", str(unit)], capture_output=True, text=True, timeout=30, check=False)
        assert answer.returncode == 0, answer.stderr
