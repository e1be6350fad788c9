"""Our reconciler drives hosts of wasmCloud v1: they speak v1's JSON on a real bus, and nothing of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.wadm.manifests import application, component, group, link, provider, spread
from tests.wadm.test_reconciler import Mesh, now, until
from tests.wadm.v1_host import V1Host
from trellis_lattice.bus.connection import Connection
from trellis_wadm.api import StatusReport
from trellis_wadm.backoff import Policy
from trellis_wadm.planner import StatusType

BUILTIN = "wasmcloud+builtin://http-server"
OLD, NEW = "file:///old.wasm", "oci://registry.example/app:2"
TOLD_OLD, TOLD_NEW = "/old.wasm", "registry.example/app:2"


class MixedMesh(Mesh):
    """A lattice that hosts of v1 may join."""

    v1: list[V1Host]

    async def v1_host(self, id: str, **labels: str) -> V1Host:
        host = await V1Host.start(self.url, self.lattice, id, **labels)
        self.v1.append(host)
        return host

    async def deployed(self, name: str) -> StatusReport:
        return await self.status(name, StatusType.DEPLOYED)

    async def at_rest(self, name: str, *hosts: V1Host) -> None:
        """Deployed, and nothing more is asked of these hosts although they say that something happened."""
        await self.deployed(name)
        before = [list(host.history) for host in hosts]
        for host in hosts:
            asked = host.inventories
            await host.heartbeat()
            await host.put_label("seen", str(asked))
            await until(now(lambda host=host, asked=asked: host.inventories > asked))  # type: ignore[misc]
        await self.deployed(name)
        assert [host.history for host in hosts] == before


@pytest_asyncio.fixture
async def mesh(nats_server: str, lattice: str, connection: Connection) -> AsyncIterator[MixedMesh]:
    mesh = MixedMesh(nats_server, lattice, connection)
    mesh.v1 = []
    yield mesh
    await mesh.aclose()
    for host in mesh.v1:
        await host.kill()


COUNTER = application(
    "counter",
    component("counter", spread(4), link("kv", to={"bucket": {"bucket": "counts"}}), image=OLD),
    provider("kv"),
    provider("http", link("counter", "wasi:http", ["incoming-handler"]), image=BUILTIN),
)


async def test_an_application_is_placed_on_v1_hosts_and_taken_away(mesh: MixedMesh) -> None:
    host = await mesh.v1_host("NV")
    await mesh.reconciler("NR")

    await mesh.deploy(COUNTER)
    await mesh.at_rest("counter", host)

    assert [c["max_instances"] for c in host.components.values()] == [4]
    assert {id: p["image_ref"] for id, p in host.providers.items()} == {
        "counter-kv": "ghcr.io/p:1",
        "counter-http": "http-server",
    }
    assert sorted((each["source_id"], each["target"]) for each in await host.links()) == [
        ("counter-counter", "counter-kv"),
        ("counter-http", "counter-counter"),
    ]
    assert len(host.history) == 3
    assert host.unsupported == []

    await mesh.client.undeploy("counter", deadline=soon())
    await mesh.status("counter", StatusType.UNDEPLOYED)
    await until(now(lambda: not host.components and not host.providers))

    async def is_clean() -> bool:
        return await host.links() == []

    await until(is_clean)


async def test_a_new_image_is_a_stop_and_a_start_host_by_host(mesh: MixedMesh) -> None:
    hosts = [await mesh.v1_host("NV"), await mesh.v1_host("NW")]
    await mesh.reconciler("NR")
    groups = [group("v", zone="v"), group("w", zone="w")]
    for host, zone in zip(hosts, "vw", strict=True):
        await host.put_label("zone", zone)
    await mesh.deploy(application("app", component("c", spread(4, *groups), image=OLD)))
    await mesh.at_rest("app", *hosts)

    await mesh.deploy(application("app", component("c", spread(4, *groups), image=NEW), version="v2"))
    await until(now(lambda: all(h.components.get("app-c", {}).get("image_ref") == TOLD_NEW for h in hosts)))
    await mesh.at_rest("app", *hosts)

    for host in hosts:
        assert host.history == [("app-c", TOLD_OLD, 2), ("app-c", TOLD_OLD, 0), ("app-c", TOLD_NEW, 2)]


async def test_an_image_that_v1_refuses_is_taken_back(mesh: MixedMesh) -> None:
    host = await mesh.v1_host("NV")
    host.broken[TOLD_NEW] = "failed to fetch"
    await mesh.reconciler("NR", policy=Policy(first=0.01, cap=0.02, limit=3))
    await mesh.deploy(application("app", component("c", spread(2), image=OLD)))
    await mesh.at_rest("app", host)

    await mesh.deploy(application("app", component("c", spread(2), image=NEW), version="v2"))
    await mesh.status("app", StatusType.FAILED, "failed to fetch (after 3 attempts)")

    await until(now(lambda: host.components.get("app-c", {}).get("image_ref") == TOLD_OLD))


async def test_settings_that_v1_only_takes_at_a_start_are_taken_by_starting_anew(mesh: MixedMesh) -> None:
    host = await mesh.v1_host("NV")
    await mesh.reconciler("NR")
    await mesh.deploy(application("app", component("c", spread(2), image=OLD)))
    await mesh.at_rest("app", host)
    config = [{"name": "more", "properties": {"k": "v"}}]

    await mesh.deploy(application("app", component("c", spread(2), image=OLD, config=config), version="v2"))

    await until(now(lambda: len(host.history) >= 3))
    await mesh.at_rest("app", host)
    assert [count for _, _, count in host.history] == [2, 0, 2]


async def test_a_resize_needs_no_stop(mesh: MixedMesh) -> None:
    host = await mesh.v1_host("NV")
    await mesh.reconciler("NR")
    await mesh.deploy(application("app", component("c", spread(2), image=OLD)))
    await mesh.at_rest("app", host)

    await mesh.deploy(application("app", component("c", spread(5), image=OLD), version="v2"))

    await until(now(lambda: host.components["app-c"]["max_instances"] == 5))
    await mesh.at_rest("app", host)
    assert [count for _, _, count in host.history] == [2, 5]


async def test_work_leaves_a_v1_host_that_says_goodbye_and_one_that_is_killed(mesh: MixedMesh) -> None:
    first, second, third = await mesh.v1_host("NU", n="1"), await mesh.v1_host("NV", n="2"), await mesh.v1_host("NW")
    await mesh.reconciler("NR")
    await mesh.deploy(application("app", component("c", spread(2), image=OLD), provider("p")))
    await mesh.deployed("app")

    def holders() -> list[V1Host]:
        return [host for host in (first, second, third) if host.components or host.providers]

    for end in (V1Host.stop, V1Host.kill):
        gone = holders()[0]
        await end(gone)
        gone.components.clear()
        gone.providers.clear()
        await until(
            now(lambda: {id for host in holders() for id in (*host.components, *host.providers)} == {"app-c", "app-p"})
        )
        await mesh.deployed("app")


async def test_linked_work_stays_on_one_kind_of_hosts(mesh: MixedMesh) -> None:
    ours = await mesh.host("NA", **{"host.impl": "trellis"}, kind="ours")
    v1 = await mesh.v1_host("NV", kind="v1")
    await mesh.reconciler("NR")

    await mesh.deploy(application("app", component("c", spread(2, group("g", kind="v1")), link("kv")), provider("kv")))
    await mesh.deployed("app")
    assert (set(v1.components), set(v1.providers), ours.components, ours.providers) == ({"app-c"}, {"app-kv"}, {}, {})

    split = application(
        "split",
        component("c", spread(2, group("g", kind="v1")), link("kv")),
        provider("kv", spread(1, group("g", kind="ours"))),
    )
    await mesh.deploy(split)
    report = await mesh.status("split", StatusType.FAILED, "calls do not cross")
    assert ("rejected-foreign", "NV") in {(c.reason, c.host) for c in report.conditions}
    assert set(v1.components) == {"app-c"}


def soon() -> float:
    return asyncio.get_running_loop().time() + 10
