"""A look at a real lattice from outside of its scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.wadm.fake_host import FakeHost
from tests.wadm.manifests import application, component, group, http, link, manifest, provider, spread
from tests.wadm.test_reconciler import Mesh, until
from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.client import LatticeClient
from trellis_lattice.errors import Unavailable
from trellis_wadm.observe import observe
from trellis_wadm.planner import StatusType
from trellis_wadm.planner.commands import ScaleComponent
from trellis_wadm.preview import Intent, preview
from trellis_wadm.store import BUCKET

COUNTER = application(
    "counter",
    component("counter", spread(4, group("east", zone="a")), link("kv", to={"bucket": {"bucket": "counts"}})),
    provider("kv"),
    provider("http", http("counter", "127.0.0.1:8000")),
)


def soon(seconds: float = 5) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest_asyncio.fixture
async def mesh(nats_server: str, lattice: str, connection: Connection) -> AsyncIterator[Mesh]:
    mesh = Mesh(nats_server, lattice, connection)
    yield mesh
    await mesh.aclose()


@pytest.fixture
def client(connection: Connection, lattice: str) -> LatticeClient:
    return LatticeClient(connection, lattice)


async def test_what_is_seen_from_outside_is_what_the_scheduler_sees(mesh: Mesh, client: LatticeClient) -> None:
    first, second = await mesh.host("NA", zone="a"), await mesh.host("NB", zone="b")
    await mesh.reconciler("NA")
    await mesh.deploy(COUNTER)
    await mesh.status("counter", StatusType.DEPLOYED)

    sight = await observe(client, deadline=soon(), listen=2.0)

    hosts = sight.observed.hosts
    assert sight.host_names == {"NA": "na", "NB": "nb"}
    assert hosts["NA"].components["counter-counter"].max_instances == 4
    assert {id for host in hosts.values() for id in host.providers} == {"counter-kv", "counter-http"}
    assert {stored.source_id for stored in sight.observed.links} == {"counter-counter", "counter-http"}
    assert sight.observed.configs["counter-bucket"] == {"bucket": "counts"}
    assert sight.observed.owned.configs == {"counter-bucket", "counter-listen"}
    assert sight.applications["counter"].deployed_version == "v1"
    same = preview([Intent("counter", sight.applications["counter"].deployed)], sight.applications, sight.observed, 0.0)
    assert (same.changes, same.pending, same.problems) == (False, (), ())
    assert (len(first.scales), len(second.scales)) == (1, 0), "nothing was changed by looking"


async def test_a_plan_made_outside_is_carried_out_inside(mesh: Mesh, client: LatticeClient) -> None:
    hosts = {id: await mesh.host(id, zone=zone) for id, zone in (("NA", "a"), ("NB", "b"))}
    await mesh.reconciler("NA")
    await mesh.deploy(COUNTER)
    await mesh.status("counter", StatusType.DEPLOYED)
    moved = application(
        "counter",
        component("counter", spread(6, group("east", zone="b")), link("kv", to={"bucket": {"bucket": "counts"}})),
        provider("kv"),
        version="v2",
    )
    sight = await observe(client, deadline=soon())
    found = preview([Intent("counter", manifest(moved))], sight.applications, sight.observed, 0.0)
    for host in hosts.values():
        host.scales.clear()

    await mesh.deploy(moved)

    def is_done() -> bool:
        return "counter-counter" not in hosts["NA"].components and "counter-http" not in {
            id for host in hosts.values() for id in host.providers
        }

    await until(lambda: _now(is_done()))
    planned = [
        (step.command.host, step.command.id, step.command.count)
        for step in found.steps
        if isinstance(step.command, ScaleComponent)
    ]
    assert planned == [("NB", "counter-counter", 6), ("NA", "counter-counter", 0)]
    assert [(s.host_id, s.count) for s in hosts["NB"].scales] == [("NB", 6)]
    assert [(s.host_id, s.count) for s in hosts["NA"].scales] == [("NA", 0)]


async def _now(value: bool) -> bool:
    return value


async def test_a_lattice_that_nobody_has_used_is_empty(client: LatticeClient) -> None:
    sight = await observe(client, deadline=soon())

    assert dict(sight.applications) == {}
    assert (dict(sight.observed.hosts), sight.observed.links, dict(sight.observed.configs)) == ({}, (), {})


async def test_a_host_that_was_there_and_does_not_answer_is_named(mesh: Mesh, client: LatticeClient) -> None:
    await mesh.host("NA")
    gone = await mesh.host("NB")
    await mesh.reconciler("NA")
    await mesh.deploy(application("one", component("c", spread(1, daemon=True))))
    await mesh.status("one", StatusType.DEPLOYED)
    await mesh.kill_reconciler()
    await gone.kill()

    sight = await observe(client, deadline=soon())

    assert sight.observed.hosts["NA"].live
    assert not sight.observed.hosts["NB"].live


async def test_records_that_cannot_be_read_hide_nothing_else(
    connection: Connection, client: LatticeClient, lattice: str, nats_server: str
) -> None:
    host = await FakeHost.start(nats_server, lattice, "NA")
    for bucket, key in (
        (subjects.lattice_bucket(lattice), "COMPONENT_bad"),
        (subjects.config_bucket(lattice), "bad"),
        (subjects.trellis_bucket(lattice), "wadm.owned"),
        (BUCKET, f"{lattice}-bad"),
    ):
        opened = await open_bucket(connection, bucket, deadline=soon())
        await opened.put(key, b"\xff{", deadline=soon())
    await (await open_bucket(connection, BUCKET, deadline=soon())).put(lattice, b'["bad"]', deadline=soon())
    await client.put_config("good", {"a": "1"})

    sight = await observe(client, deadline=soon())

    assert dict(sight.observed.configs) == {"good": {"a": "1"}}
    assert dict(sight.applications) == {}
    assert list(sight.observed.hosts) == ["NA"]
    await host.aclose()


async def test_a_server_that_is_away_is_one_error(nats_server: str, lattice: str, connection: Connection) -> None:
    client = LatticeClient(connection, lattice)
    await connection.aclose()

    with pytest.raises(Unavailable):
        await observe(client, deadline=soon())
