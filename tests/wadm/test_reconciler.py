"""The reconciler on a real bus, with hosts that speak the real control protocol and run nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.wadm.fake_host import FakeHost
from tests.wadm.manifests import application, component, group, http, link, provider, spread
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.errors import Unavailable
from trellis_wadm import naming
from trellis_wadm.api import StatusReport, WadmClient
from trellis_wadm.backoff import Policy
from trellis_wadm.board import StatusBoard
from trellis_wadm.ledger import KEY
from trellis_wadm.planner import StatusType
from trellis_wadm.reconciler import Reconciler

WAIT = 10.0


def soon() -> float:
    return asyncio.get_running_loop().time() + WAIT


class Mesh:
    """Hosts and reconcilers of one lattice, ended together."""

    def __init__(self, url: str, lattice: str, connection: Connection) -> None:
        self.url = url
        self.lattice = lattice
        self.client = WadmClient(connection, lattice)
        self._connection = connection
        self._hosts: list[FakeHost] = []
        self._running: list[tuple[asyncio.Event, asyncio.Task[None], Connection]] = []

    async def host(self, id: str, **labels: str) -> FakeHost:
        host = await FakeHost.start(self.url, self.lattice, id, **labels)
        self._hosts.append(host)
        return host

    async def reconciler(self, host: str, *, boot: int = 1, policy: Policy | None = None) -> Reconciler:
        connection = await Connection.connect(ConnectionSettings(urls=(self.url,)), timeout=WAIT)
        reconciler = Reconciler(connection, self.lattice, host, boot=boot, policy=policy)
        stop = asyncio.Event()
        self._running.append((stop, asyncio.create_task(reconciler.run(stop)), connection))
        return reconciler

    async def kill_reconciler(self) -> None:
        """As a killed process: the lease is not given back."""
        _, task, connection = self._running.pop()
        await connection.aclose()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def deploy(self, data: dict[str, Any]) -> None:
        async def put() -> bool:
            try:
                await self.client.put(json.dumps(data), deadline=soon())
            except Unavailable:
                return False
            return True

        await until(put)
        await self.client.deploy(data["metadata"]["name"], data["metadata"]["annotations"]["version"], deadline=soon())

    async def status(self, name: str, wanted: StatusType, text: str = "") -> StatusReport:
        """The status, once it is of that type and says that."""
        reports: list[StatusReport] = []

        async def is_so() -> bool:
            try:
                reports.append(await self.client.status(name, deadline=soon()))
            except Unavailable:
                return False  # its scheduler has not started yet
            return reports[-1].type is wanted and text in reports[-1].message

        await until(is_so, lambda: str(reports[-1:]))
        return reports[-1]

    async def post(self, name: str, report: StatusReport) -> None:
        """As a leader does."""
        await StatusBoard(self._connection, self.lattice).post(name, report, deadline=soon())

    async def aclose(self) -> None:
        for stop, task, connection in self._running:
            stop.set()
            await asyncio.wait_for(task, WAIT)
            await connection.aclose()
        for host in self._hosts:
            await host.aclose()


async def until(condition: Callable[[], Awaitable[bool]], explain: Callable[[], str] = lambda: "") -> None:
    """Waits for a condition that nothing announces."""
    try:
        async with asyncio.timeout(WAIT):
            while not await condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it did not come true: {explain()}") from None


def now(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return condition()

    return ask


@pytest_asyncio.fixture
async def mesh(nats_server: str, lattice: str, connection: Connection) -> AsyncIterator[Mesh]:
    mesh = Mesh(nats_server, lattice, connection)
    yield mesh
    await mesh.aclose()


COUNTER = application(
    "counter",
    component("counter", spread(4), link("kv", to={"bucket": {"bucket": "counts"}})),
    provider("kv"),
    provider("http", http("counter", "127.0.0.1:8000")),
)


async def test_an_application_is_deployed_and_undeployed(mesh: Mesh) -> None:
    host = await mesh.host("NA")
    await mesh.reconciler("NA")

    await mesh.deploy(COUNTER)
    report = await mesh.status("counter", StatusType.DEPLOYED)

    assert {(scaler.kind, scaler.status.type) for scaler in report.scalers} == {
        ("SpreadScaler", StatusType.DEPLOYED),
        ("LinkScaler", StatusType.DEPLOYED),
    }
    assert host.components["counter-counter"].max_instances == 4
    assert set(host.providers) == {"counter-kv", "counter-http"}
    assert await host.links("counter-counter") == [("default", "counter-kv")]
    assert await host.config("counter-bucket") == {"bucket": "counts"}
    annotations = host.components["counter-counter"].annotations or {}
    assert annotations[naming.APP_ANNOTATION] == "counter"
    assert len(host.scales) == 1

    await mesh.client.undeploy("counter", deadline=soon())
    await mesh.status("counter", StatusType.UNDEPLOYED, "Manifest has been undeployed")
    await until(now(lambda: not host.components and not host.providers))

    async def is_clean() -> bool:
        return await host.links("counter-counter") == [] and await host.config("counter-bucket") is None

    await until(is_clean)


async def test_an_application_waits_for_the_first_host(mesh: Mesh) -> None:
    await mesh.reconciler("NA")
    await mesh.deploy(application("app", component("c", spread(1))))
    await mesh.status("app", StatusType.WAITING, "no hosts")

    host = await mesh.host("NA")

    await mesh.status("app", StatusType.DEPLOYED)
    assert host.components["app-c"].max_instances == 1


async def test_a_new_version_replaces_the_old_one_without_stopping(mesh: Mesh) -> None:
    host = await mesh.host("NA", **{"host.impl": "trellis"})
    await mesh.reconciler("NA")
    await mesh.deploy(application("app", component("c", spread(2)), component("old", spread(1))))
    await mesh.status("app", StatusType.DEPLOYED)

    await mesh.deploy(application("app", component("c", spread(3), image="file:///new.wasm"), version="v2"))

    await until(now(lambda: "app-old" not in host.components and host.components["app-c"].max_instances == 3))
    assert host.components["app-c"].image_ref == "file:///new.wasm"
    assert [scale.count for scale in host.scales if scale.component_id == "app-c"] == [2, 3]


async def test_work_moves_when_its_host_dies(mesh: Mesh) -> None:
    first = await mesh.host("NA")
    await mesh.reconciler("NR")
    await mesh.deploy(application("app", component("c", spread(4)), provider("p")))
    await mesh.status("app", StatusType.DEPLOYED)
    second = await mesh.host("NB")

    await first.kill()

    await until(now(lambda: "app-c" in second.components and "app-p" in second.providers))
    await mesh.status("app", StatusType.DEPLOYED)
    assert second.components["app-c"].max_instances == 4


async def test_work_moves_at_once_when_its_host_says_goodbye(mesh: Mesh) -> None:
    first, second = await mesh.host("NA", zone="a"), await mesh.host("NB", zone="b")
    await mesh.reconciler("NB")
    await mesh.deploy(application("app", component("c", spread(4))))
    await mesh.status("app", StatusType.DEPLOYED)
    assert first.components["app-c"].max_instances == 2

    await first.aclose()

    await until(now(lambda: second.components["app-c"].max_instances == 4))


async def test_a_host_that_starts_anew_gets_its_work_back(mesh: Mesh) -> None:
    host = await mesh.host("NA")
    await mesh.reconciler("NA", boot=1)
    await mesh.deploy(COUNTER)
    await mesh.status("counter", StatusType.DEPLOYED)
    await mesh.kill_reconciler()
    await host.kill()

    again = await mesh.host("NA")
    await mesh.reconciler("NA", boot=2)

    await until(now(lambda: "counter-counter" in again.components and len(again.providers) == 2))
    await mesh.status("counter", StatusType.DEPLOYED)
    assert len(again.scales) == 1


async def test_another_host_leads_when_the_leader_dies(mesh: Mesh) -> None:
    host = await mesh.host("NA")
    second = await mesh.reconciler("NB")
    await until(now(lambda: second.leading))
    first = await mesh.reconciler("NC")
    await mesh.deploy(application("app", component("c", spread(1))))
    await mesh.status("app", StatusType.DEPLOYED)
    assert not first.leading

    stop, task, _ = mesh._running[0]
    stop.set()
    await asyncio.wait_for(task, WAIT)

    await until(now(lambda: first.leading))
    await mesh.deploy(application("late", component("c", spread(1))))
    await mesh.status("late", StatusType.DEPLOYED)
    assert set(host.components) == {"app-c", "late-c"}
    assert [scale.component_id for scale in host.scales] == ["app-c", "late-c"]


async def test_failures_are_counted_and_end_with_a_reason(mesh: Mesh) -> None:
    host = await mesh.host("NA")
    host.fail_components["app-c"] = "no such file: /c.wasm"
    await mesh.reconciler("NA", policy=Policy(first=0.05, cap=0.1, limit=3))

    await mesh.deploy(application("app", component("c", spread(1))))

    report = await mesh.status("app", StatusType.FAILED, "no such file: /c.wasm (after 3 attempts)")
    assert len(host.scales) == 3
    condition = report.conditions[0]
    assert (condition.reason, condition.host) == ("failed", "NA")
    assert condition.since is not None

    host.fail_components.clear()
    await mesh.client.deploy("app", deadline=soon())
    await mesh.status("app", StatusType.DEPLOYED)


async def test_since_when_something_does_not_hold_survives_the_leader(mesh: Mesh) -> None:
    await mesh.host("NA", zone="a")
    await mesh.reconciler("NA", boot=1)
    await mesh.deploy(application("app", component("c", spread(1, group("g", zone="b")))))
    before = await mesh.status("app", StatusType.FAILED)
    long_ago = "2020-01-01T00:00:00+00:00"
    conditions = [each.model_copy(update={"since": long_ago}) for each in before.scalers[0].conditions]
    scaler = before.scalers[0].model_copy(update={"conditions": tuple(conditions)})
    await mesh.kill_reconciler()
    await mesh.post("app", before.model_copy(update={"scalers": (scaler,)}))

    await mesh.reconciler("NA", boot=2)
    await mesh.host("NB", zone="c")

    report = await mesh.status("app", StatusType.FAILED, "zone=c")
    began = {(each.reason, each.host): each.since for each in report.conditions}
    assert began["unsatisfied", None] == began["rejected-label", "NA"] == long_ago
    assert began["rejected-label", "NB"] not in (None, long_ago)


async def test_what_cannot_be_placed_says_why_on_each_host(mesh: Mesh) -> None:
    await mesh.host("NA", zone="west")
    await mesh.reconciler("NA")

    await mesh.deploy(application("app", component("c", spread(1, group("east", zone="east")))))

    report = await mesh.status("app", StatusType.FAILED, "0/1 eligible hosts found")
    assert {(c.reason, c.host) for c in report.conditions} == {("unsatisfied", None), ("rejected-label", "NA")}


async def test_what_somebody_stops_by_hand_is_started_again(mesh: Mesh) -> None:
    host = await mesh.host("NA")
    await mesh.reconciler("NA")
    await mesh.deploy(application("app", component("c", spread(1)), provider("p")))
    await mesh.status("app", StatusType.DEPLOYED)

    host.components.clear()
    host.providers.clear()
    host.changed()

    await until(now(lambda: "app-c" in host.components and "app-p" in host.providers))


async def test_a_config_that_somebody_changed_is_put_right(mesh: Mesh, connection: Connection) -> None:
    host = await mesh.host("NA")
    await mesh.reconciler("NA")
    await mesh.deploy(COUNTER)
    await mesh.status("counter", StatusType.DEPLOYED)
    bucket = await open_bucket(connection, f"CONFIGDATA_{mesh.lattice}", deadline=soon())

    await bucket.put("counter-bucket", b'{"bucket":"other"}', deadline=soon())

    async def is_right() -> bool:
        return await host.config("counter-bucket") == {"bucket": "counts"}

    await until(is_right)


async def test_a_leader_that_takes_over_removes_what_was_undeployed_before(mesh: Mesh, connection: Connection) -> None:
    host = await mesh.host("NA")
    await mesh.reconciler("NA", boot=1)
    await mesh.deploy(COUNTER)
    await mesh.status("counter", StatusType.DEPLOYED)
    await mesh.kill_reconciler()
    trellis = await open_bucket(connection, f"TRELLIS_{mesh.lattice}", deadline=soon())
    manifests = await open_bucket(connection, "wadm_manifests", deadline=soon())
    assert await trellis.get(KEY, deadline=soon()) is not None
    record = await manifests.get(f"{mesh.lattice}-counter", deadline=soon())
    assert record is not None
    left = json.loads(record.value) | {"deployed_version": None}
    await manifests.put(f"{mesh.lattice}-counter", json.dumps(left).encode(), deadline=soon())

    await mesh.reconciler("NA", boot=2)

    await until(now(lambda: not host.components and not host.providers))

    async def is_clean() -> bool:
        return await host.links("counter-counter") == [] and await host.config("counter-bucket") is None

    await until(is_clean)


@asynccontextmanager
async def quiet(host: FakeHost) -> AsyncIterator[None]:
    """Nothing may be commanded meanwhile."""
    before = list(host.scales)
    yield
    assert host.scales == before


@pytest.mark.parametrize("events", [5])
async def test_news_that_change_nothing_cause_no_commands(mesh: Mesh, events: int) -> None:
    host = await mesh.host("NA")
    await mesh.reconciler("NA")
    await mesh.deploy(application("app", component("c", spread(1))))
    await mesh.status("app", StatusType.DEPLOYED)

    async with quiet(host):
        for _ in range(events):
            asked = host.asked
            host.changed()
            await until(now(lambda asked=asked: host.asked > asked))  # type: ignore[misc]


async def test_an_outage_of_nats_moves_nothing(tmp_path: Path, lattice: str) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path / "nats"))
    connection = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=WAIT)
    mesh = Mesh(server.url, lattice, connection)
    hosts = [await mesh.host("NA"), await mesh.host("NB")]
    reconciler = await mesh.reconciler("NA")
    await mesh.deploy(application("app", component("c", spread(4)), provider("p")))
    await mesh.status("app", StatusType.DEPLOYED)

    await server.stop()
    await until(now(lambda: not connection.connected))
    again = await EmbeddedNats.start(NatsServerSettings(tmp_path / "nats", port=urlsplit(server.url).port or 0))
    await until(now(lambda: connection.connected and reconciler.leading))
    await mesh.deploy(application("late", component("c", spread(1))))
    await mesh.status("late", StatusType.DEPLOYED)

    assert [host.components["app-c"].max_instances for host in hosts] == [2, 2]
    assert sum(scale.component_id == "app-c" for host in hosts for scale in host.scales) == 2
    await mesh.aclose()
    await connection.aclose()
    await again.stop()
