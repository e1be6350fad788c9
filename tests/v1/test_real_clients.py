"""The real clients of wasmCloud v1, built from their crates, drive a host and its reconciler; its library signs.

`make v1-clients` builds the program beside this file with cargo and runs this.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fixtures import components
from tests.host.support import Operator, eventually, host_key, image, running_host, soon
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.control import claims
from trellis_wadm.reconciler import ReconcilerService

pytestmark = pytest.mark.v1

PROGRAM = Path(__file__).parents[2] / "build" / "v1-clients" / "debug" / "v1-clients"
PROVIDER = "ghcr.io/wasmcloud/http-server:0.27.0"


async def run(*arguments: str) -> str:
    """What the program says; fails with where it ended if a step is not as v1 has it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(PROGRAM, *arguments, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode() + errors.decode()
    return output.decode()


async def test_every_control_operation(nats_server: str, lattice: str, tmp_path: Path) -> None:
    one, other = (image(tmp_path, name, make()) for name, make in (("a", components.echo), ("b", components.add)))
    async with running_host(nats_server, lattice, tmp_path):
        said = await run("control", nats_server, lattice, one, other, PROVIDER)

    assert len(said.splitlines()) > 40


async def test_an_application_from_put_to_delete(nats_server: str, lattice: str, tmp_path: Path) -> None:
    manifest = tmp_path / "app.json"
    manifest.write_text(json.dumps(application(image(tmp_path, "a", components.echo()))))
    async with running_host(
        nats_server, lattice, tmp_path, services=[ReconcilerService(lattice, host_key(lattice).id, boot=1)]
    ):
        said = await run("applications", nats_server, lattice, str(manifest))

    assert len(said.splitlines()) > 10


@asynccontextmanager
async def real_wadm(folder: Path) -> AsyncIterator[str]:
    """The url of a NATS server of its own, on which wadm 0.21 runs."""
    server = await EmbeddedNats.start(NatsServerSettings(folder / "nats"))
    with (folder / "wadm.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "wadm", server.url, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"listening\n"
        yield server.url
    finally:
        process.kill()
        await process.wait()
        await server.stop()


async def known_to_wadm(connection: Connection, lattice: str, *hosts: str) -> None:
    """Waits until wadm keeps these hosts: what is deployed before it works on a lattice, it never hears of."""
    bucket = await open_bucket(connection, "wadm_state", deadline=soon())
    async with asyncio.timeout(40):
        while True:
            entry = await bucket.get(f"host_{lattice}", deadline=soon())
            if entry is not None and all(host in json.loads(entry.value) for host in hosts):
                return
            await asyncio.sleep(0.05)


async def test_the_real_wadm_places_an_application_onto_our_hosts(lattice: str, tmp_path: Path) -> None:
    manifest = tmp_path / "app.json"
    manifest.write_text(json.dumps(application(image(tmp_path, "a", components.echo()))))
    async with real_wadm(tmp_path) as url:
        connection = await Connection.connect(ConnectionSettings(urls=(url,)), timeout=5)
        operator = Operator(connection, lattice)
        await operator.start()
        async with (
            running_host(url, lattice, tmp_path, name="one") as one,
            running_host(url, lattice, tmp_path, name="two") as two,
        ):
            await known_to_wadm(connection, lattice, one.state.host_id, two.state.host_id)
            said = await run("applications", url, lattice, str(manifest))
            await eventually(lambda: not [*one.state.components, *two.state.components])
        await operator.invoker.aclose()
        await connection.aclose()

    assert len(said.splitlines()) > 10
    started = [event for event in operator.events if event.kind == "component_scaled" and event.data["max_instances"]]
    assert started[0].data["annotations"]["wasmcloud.dev/managed-by"] == "wadm"


async def test_a_component_that_v1_signed(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    plain, signed = tmp_path / "plain.wasm", tmp_path / "signed.wasm"
    plain.write_bytes(components.echo())
    subject, issuer = (await run("sign", str(plain), str(signed))).split()
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.scale(one, "echo", signed.as_uri())
        scaled = await operator.heard("component_scaled", component_id="echo")
        await eventually(lambda: one.shared.claims)
        listed = (await operator.ask(claims.GET)).unwrap()

    said = scaled.data["claims"]
    assert (scaled.data["public_key"], said["issuer"]) == (subject, issuer)
    assert (said["name"], said["revision"], said["version"], said["tags"]) == ("Echo", 7, "1.2.3", ["one", "two"])
    assert "ago" in said["not_before_human"] or said["not_before_human"] == "in 0s"
    assert [(each["sub"], each["call_alias"]) for each in listed] == [(subject, "echo")]


def application(component: str) -> dict[str, object]:
    """A component with a spread, a provider, a link and a config."""
    spread = {"instances": 3, "spread": [{"name": "unix", "requirements": {"hostcore.osfamily": "unix"}}]}
    link = {
        "target": {"name": "store", "config": [{"name": "bucket", "properties": {"bucket": "b"}}]},
        "namespace": "wasi",
        "package": "keyvalue",
        "interfaces": ["store"],
    }
    return {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": "demo", "annotations": {"version": "v1.0.0", "description": "for v1's client"}},
        "spec": {
            "components": [
                {
                    "name": "echo",
                    "type": "component",
                    "properties": {"image": component, "config": [{"name": "greet", "properties": {"text": "hello"}}]},
                    "traits": [
                        {"type": "spreadscaler", "properties": spread},
                        {"type": "link", "properties": link},
                    ],
                },
                {
                    "name": "store",
                    "type": "capability",
                    "properties": {"image": "ghcr.io/wasmcloud/keyvalue-nats:0.3.1"},
                },
            ]
        },
    }
