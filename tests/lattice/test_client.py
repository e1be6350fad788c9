"""The client against hosts whose handlers are written here, over a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from trellis_lattice import control
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.client import LatticeClient
from trellis_lattice.control import CtlResponse, component, config, host, link, provider
from trellis_lattice.control.host import HostInfo, HostInventory
from trellis_lattice.control.server import ControlServer
from trellis_lattice.errors import Conflict, DeadlineExceeded, NotFound, Overloaded, TrellisError, Unavailable
from trellis_lattice.events import ComponentScaled, ComponentScaleFailed, Event
from trellis_lattice.events.feed import EventPublisher
from trellis_lattice.links import Link
from trellis_lattice.subjects import ControlSubject

FAR = 3600.0


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


class FakeHost:
    """A host that knows its name and remembers what it was asked."""

    def __init__(self, connection: Connection, lattice: str, id: str) -> None:
        self.id = id
        self.server = ControlServer(connection, lattice, id)
        self.publisher = EventPublisher(connection, lattice, id)
        self.asked: list[object] = []
        self.server.handle(host.PING, self.ping)
        self.server.handle(host.GET, self.get)

    async def ping(self, request: None, subject: ControlSubject) -> CtlResponse[HostInfo]:
        return CtlResponse.ok(
            HostInfo(id=self.id, friendly_name=f"calm-{self.id}-1000", uptime_seconds=ord(self.id[-1]))
        )

    async def get(self, request: None, subject: ControlSubject) -> CtlResponse[HostInventory]:
        return CtlResponse.ok(HostInventory(host_id=self.id, friendly_name="x", labels={}, components=(), providers=()))

    def on(self, operation: control.ControlOperation, answer: CtlResponse | TrellisError | None, *then: Event) -> None:
        async def handler(request: object, subject: ControlSubject) -> CtlResponse | None:
            self.asked.append(request)
            for event in then:
                await self.publisher.publish(event)
            if isinstance(answer, TrellisError):
                raise answer
            return answer

        self.server.handle(operation, handler)


@pytest_asyncio.fixture
async def start(connection: Connection, lattice: str) -> AsyncIterator[Callable[[str], Awaitable[FakeHost]]]:
    hosts: list[FakeHost] = []

    async def start(id: str) -> FakeHost:
        fake = FakeHost(connection, lattice, id)
        hosts.append(fake)
        await fake.server.start(deadline=soon())
        return fake

    yield start
    for fake in hosts:
        await fake.server.aclose()


@pytest_asyncio.fixture
async def client(nats_server: str, lattice: str) -> AsyncIterator[LatticeClient]:
    async with await LatticeClient.connect(ConnectionSettings(urls=(nats_server,)), lattice) as client:
        yield client


Start = Callable[[str], Awaitable[FakeHost]]


async def test_all_hosts_answer_and_the_call_ends_with_the_last_expected(client: LatticeClient, start: Start) -> None:
    for id in ("NA", "NC", "NB"):
        await start(id)
    found = await client.hosts(timeout=FAR, expect={"NA", "NB", "NC"})
    assert [info.id for info in found] == ["NC", "NB", "NA"]
    assert [info.id for info in await client.hosts(timeout=FAR)] == ["NC", "NB", "NA"]
    assert {i.host_id for i in await client.inventories(timeout=FAR, expect={"NA", "NB", "NC"})} == {"NA", "NB", "NC"}


async def test_an_empty_lattice(client: LatticeClient, lattice: str) -> None:
    assert await client.hosts(timeout=FAR) == []
    for call in (
        lambda: client.find_host("x", timeout=FAR),
        lambda: client.links(timeout=FAR),
        lambda: client.put_config("c", {}, timeout=FAR),
    ):
        with pytest.raises(Unavailable) as caught:
            await call()
        assert caught.value.message.startswith(f"No host answered on lattice `{lattice}`")
        assert "trellis up" in str(caught.value)
    with pytest.raises(Unavailable, match=f"Host NX is not on lattice `{lattice}`"):
        await client.inventory("NX", timeout=FAR)


async def test_an_unreadable_answer_does_not_hide_the_others(
    client: LatticeClient, start: Start, connection: Connection, lattice: str
) -> None:
    rogue = await connection.subscribe(
        host.PING.subject(lattice), lambda message: connection.publish_soon(message.reply, b"not an envelope")
    )
    await start("NA")
    assert [info.id for info in await client.hosts(timeout=FAR, expect={"NA"})] == ["NA"]
    await rogue.unsubscribe()


async def test_hosts_are_found_by_beginning_or_name(client: LatticeClient, start: Start) -> None:
    await start("NA")
    await start("NB")
    assert (await client.find_host("na")).id == "NA"
    assert (await client.find_host("calm-NB-1000")).id == "NB"
    with pytest.raises(Conflict):
        await client.find_host("calm")
    with pytest.raises(NotFound, match="There are: NB"):
        await client.find_host("zzz")


def scaled(host_id: str, count: int, id: str = "echo") -> ComponentScaled:
    return ComponentScaled(component_id=id, host_id=host_id, image_ref="r", max_instances=count, annotations={})


async def test_a_scale_returns_with_what_came_of_it(client: LatticeClient, start: Start) -> None:
    fake = await start("NA")
    fake.on(component.SCALE, CtlResponse.done(), scaled("NA", 3, "other"), scaled("NA", 1), scaled("NA", 3))
    outcome = await client.scale_component("NA", "r", "echo", 3, config=["c"], wait=FAR)
    assert outcome == scaled("NA", 3)
    [request] = fake.asked
    assert request == component.Scale(component_ref="r", component_id="echo", count=3, host_id="NA", config=("c",))


async def test_a_scale_that_fails_raises_what_the_host_raised(client: LatticeClient, start: Start) -> None:
    fake = await start("NA")
    failed = ComponentScaleFailed(
        component_id="echo",
        host_id="NA",
        image_ref="r",
        max_instances=3,
        annotations={},
        error="no such file",
        failure=NotFound("no such file", remedy="Look.").to_wire(),
    )
    fake.on(component.SCALE, CtlResponse.done(), failed)
    with pytest.raises(NotFound, match="no such file"):
        await client.scale_component("NA", "r", "echo", 3, wait=FAR)
    by_v1 = ComponentScaleFailed(**{**failed.model_dump(), "failure": None})
    fake.on(component.SCALE, CtlResponse.done(), by_v1)
    with pytest.raises(TrellisError, match="no such file"):
        await client.scale_component("NA", "r", "echo", 3, wait=FAR)


async def test_a_command_nothing_comes_of(client: LatticeClient, start: Start) -> None:
    fake = await start("NA")
    fake.on(component.SCALE, CtlResponse.done())
    assert await client.scale_component("NA", "r", "echo", 3) is None
    with pytest.raises(DeadlineExceeded, match=r"Host NA took the command component\.scale"):
        await client.scale_component("NA", "r", "echo", 3, wait=0.05)


async def test_a_host_that_stays_silent(client: LatticeClient, start: Start) -> None:
    fake = await start("NA")
    fake.on(provider.START, None)
    with pytest.raises(DeadlineExceeded, match=r"Host NA on lattice .* did not answer provider\.start within 0\.05 s"):
        await client.start_provider("NA", "r", "http", timeout=0.05)


async def test_refusals_are_raised_as_what_they_are(client: LatticeClient, start: Start) -> None:
    fake = await start("NA")
    fake.on(link.PUT, Conflict("link already exists"))
    new = Link(source_id="a", target="b", wit_namespace="w", wit_package="p", interfaces=("i",))
    with pytest.raises(Conflict, match="link already exists"):
        await client.put_link(new)
    assert fake.asked == [new]
    fake.on(link.GET, CtlResponse.ok([new]))
    assert await client.links() == [new]


async def test_bugs_in_handlers_are_answered_too(client: LatticeClient, start: Start) -> None:
    fake = await start("NA")

    async def broken(request: object, subject: ControlSubject) -> None:
        raise ZeroDivisionError("oops")

    fake.server.handle(config.GET, broken)
    with pytest.raises(TrellisError, match=r"config\.get failed on host NA: ZeroDivisionError"):
        await client.config("c")


async def test_what_nobody_handles_is_unsupported(client: LatticeClient, start: Start, lattice: str) -> None:
    await start("NA")
    with pytest.raises(TrellisError, match="unsupported subject"):
        await client.put_label("NA", "k", "v")
    for subject in (f"wasmbus.ctl.v1.{lattice}.host.dance.NA", f"wasmbus.ctl.v1.{lattice}.config.put.a.b"):
        answer = await client.connection.request(subject, b"{}", deadline=soon())
        assert b'"unsupported subject"' in answer.data


async def test_one_host_of_many_answers_for_shared_state(client: LatticeClient, start: Start) -> None:
    fakes = [await start(id) for id in ("NA", "NB", "NC")]
    for fake in fakes:
        fake.on(config.PUT, CtlResponse.done("successfully put config"))
    for _ in range(20):
        assert await client.put_config("c", {"k": "v"}) == "successfully put config"
    assert sum(len(fake.asked) for fake in fakes) == 20


async def test_only_those_that_bid_answer_an_auction(client: LatticeClient, start: Start) -> None:
    willing, other = await start("NA"), await start("NB")
    bid = component.ComponentBid(component_ref="r", component_id="echo", host_id="NA", constraints={"zone": "a"})
    willing.on(component.AUCTION, CtlResponse.ok(bid))
    other.on(component.AUCTION, None)
    assert await client.auction_component("r", "echo", {"zone": "a"}, timeout=FAR) == [bid]


async def test_a_busy_host_refuses_instead_of_queueing(
    client: LatticeClient, connection: Connection, lattice: str
) -> None:
    release = asyncio.Event()
    server = ControlServer(connection, lattice, "NA", max_concurrent=1)

    async def slow(request: object, subject: ControlSubject) -> CtlResponse:
        await release.wait()
        return CtlResponse.done("done")

    server.handle(config.DEL, slow)
    await server.start(deadline=soon())
    first = asyncio.create_task(client.delete_config("a"))
    second = asyncio.create_task(client.delete_config("b"))
    done, pending = await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(Overloaded, match="busy with 1 control operations"):
        await done.pop()
    release.set()
    assert await pending.pop() == "done"
    await server.aclose()


async def test_nats_that_goes_away_is_not_an_empty_lattice(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    async with await LatticeClient.connect(ConnectionSettings(urls=(server.url,))) as client:
        lost = asyncio.Event()
        client.connection.listen(lambda up: lost.set())
        await server.stop()
        async with asyncio.timeout(10):
            await lost.wait()
        for call in (client.hosts, client.links):
            with pytest.raises(Unavailable, match="Not connected to NATS"):
                await call()
