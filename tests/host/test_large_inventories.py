"""A host that runs more than one NATS message can tell: it is asked in parts, and everybody still knows all of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.simulated_engine import SimulatedEngine
from tests.host.support import Operator, eventually, host_key, image, running_host
from tests.host.test_leaving import ANYWHERE, MANIFEST, deploy
from trellis_host.host import Host
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.client import LatticeClient
from trellis_lattice.client.parts import gather_parts
from trellis_lattice.control import component, host, parts
from trellis_lattice.control.parts import InventoryPart, PartRequest
from trellis_lattice.errors import NotFound, PeerMisbehaved, RequestInvalid
from trellis_lattice.events import HostHeartbeat
from trellis_wadm.reconciler import ReconcilerService

MANY = 400


@pytest_asyncio.fixture
async def small_server(tmp_path: Path) -> AsyncIterator[str]:
    """A NATS server that takes messages of 64 KiB at most."""
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path / "nats", max_payload=64 * 1024))
    yield server.url
    await server.stop()


async def fill(operator: Operator, one: Host, wasm: str) -> None:
    async def scale(number: int) -> None:
        request = component.Scale(component_id=f"by-hand-{number:03}", component_ref=wasm, count=1)
        assert (await operator.ask(component.SCALE, request, one.state.host_id)).success

    for start in range(0, MANY, 50):
        await asyncio.gather(*(scale(number) for number in range(start, start + 50)))
    await eventually(lambda: len(one.state.components) >= MANY)


async def test_a_host_with_more_than_fits_a_message_is_known_whole(
    small_server: str, lattice: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wasm = image(tmp_path, "any", b"\0asm")
    service = ReconcilerService(lattice, host_key(lattice).id, boot=1)
    async with running_host(
        small_server,
        lattice,
        tmp_path,
        make_engine=SimulatedEngine,
        services=[service],
        settings_more={"heartbeat_interval": 0.2},
    ) as one:
        connection = await Connection.connect(ConnectionSettings(urls=(small_server,)), timeout=5)
        operator = Operator(connection, lattice)
        await operator.start()
        await operator.heard("host_heartbeat")
        with caplog.at_level(logging.WARNING, "trellis.events"):
            await fill(operator, one, wasm)
            client = LatticeClient(connection, lattice)
            inventory = await client.inventory(one.state.host_id)
            assert [each.id for each in inventory.components] == [f"by-hand-{n:03}" for n in range(MANY)]
            assert (await client.inventories())[0].components == inventory.components

            refused = await operator.ask(host.GET, None, one.state.host_id)
            assert isinstance(refused.error, RequestInvalid)
            assert "larger than NATS accepts" in refused.message

            await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=ANYWHERE))
            await eventually(lambda: len(one.state.components) == MANY + 1)
            for _ in range(3):
                assert not await one.publish(HostHeartbeat(**one.inventory().to_data()))
        assert ["host_heartbeat" in each for each in caplog.messages] == [True]

        for number in range(MANY):
            await operator.ask(
                component.SCALE,
                component.Scale(component_id=f"by-hand-{number:03}", component_ref=wasm, count=0),
                one.state.host_id,
            )
        operator.events.clear()
        await operator.heard("host_heartbeat")
        assert (await operator.ask(host.GET, None, one.state.host_id)).success
        await connection.aclose()


class Answers:
    """A host's answers to questions for parts, of which the first `lost` come after it dropped what it kept."""

    def __init__(self, payload: bytes, lost: int = 0) -> None:
        self.payload = payload
        self.lost = lost
        self.asked: list[PartRequest] = []

    async def __call__(self, request: PartRequest) -> InventoryPart:
        self.asked.append(request)
        if request.part and self.lost:
            self.lost -= 1
            raise NotFound("It is not kept any more.")
        pieces = parts.split(self.payload, 40)
        data = parts.encoded(pieces[request.part])
        return InventoryPart(snapshot="s", part=request.part, parts=len(pieces), data=data)


SMALL = host.HostInventory(host_id="N", friendly_name="gr\u00fcn", labels={"a": "b"}, components=(), providers=())


async def test_what_was_dropped_meanwhile_is_asked_for_anew() -> None:
    assert await gather_parts(Answers(SMALL.to_json(), lost=2), "N") == SMALL
    with pytest.raises(NotFound):
        await gather_parts(Answers(SMALL.to_json(), lost=3), "N")


async def test_parts_that_are_none_are_the_hosts_fault() -> None:
    async def other(request: PartRequest) -> InventoryPart:
        return InventoryPart(snapshot=f"s{request.part}", part=request.part, parts=2, data="e30=")

    async def no_base64(request: PartRequest) -> InventoryPart:
        return InventoryPart(snapshot="s", part=0, parts=1, data="\N{SNOWMAN}")

    for ask in (other, no_base64, Answers(b"[1, 2]"), Answers(b"")):
        with pytest.raises(PeerMisbehaved):
            await gather_parts(ask, "N")


async def test_a_host_keeps_few_parts_and_says_so(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        first = (await operator.ask(parts.PART, None, me)).unwrap()
        again = (await operator.ask(parts.PART, PartRequest(snapshot=first.snapshot), me)).unwrap()
        assert again == first
        assert parts.joined([first.decoded()], me).host_id == me
        for request in (PartRequest(snapshot=first.snapshot, part=first.parts), PartRequest(snapshot="x")):
            answer = await operator.ask(parts.PART, request, me)
            assert isinstance(answer.error, NotFound)
            assert answer.error.remedy
