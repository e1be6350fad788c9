"""What a host does while NATS is away, and when it is back, with its data or without."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.fixtures import components
from tests.host.support import PATIENCE, NotingListeners, Operator, eventually, image, running_host
from trellis_host.host import Host
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.control import config, host, link
from trellis_lattice.errors import TrellisError, Unavailable
from trellis_lattice.wit.types import FuncType, Primitive

TEXT = FuncType((("text", Primitive.STRING),), Primitive.STRING)
CALLER = "test:caller/caller@0.1.0"


class Nats:
    """A NATS server that may be taken away."""

    def __init__(self, folder: Path, server: EmbeddedNats) -> None:
        self._folder = folder
        self._server = server
        self.url = server.url

    async def stop(self) -> None:
        await self._server.stop()

    async def start_again(self) -> None:
        port = int(self.url.rpartition(":")[2])
        self._server = await EmbeddedNats.start(NatsServerSettings(self._folder, port=port))

    def lose_data(self) -> None:
        shutil.rmtree(self._folder / "jetstream")


@pytest_asyncio.fixture
async def nats(tmp_path: Path) -> AsyncIterator[Nats]:
    folder = tmp_path / "nats"
    nats = Nats(folder, await EmbeddedNats.start(NatsServerSettings(folder)))
    yield nats
    await nats.stop()


@asynccontextmanager
async def operating(nats: Nats, lattice: str) -> AsyncIterator[Operator]:
    connection = await Connection.connect(ConnectionSettings(urls=(nats.url,)), timeout=5)
    operator = Operator(connection, lattice)
    await operator.start()
    try:
        yield operator
    finally:
        await operator.invoker.aclose()
        await connection.aclose()


async def _works(operator: Operator) -> None:
    """Returns once a call over a link is answered again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert await operator.call("caller", CALLER, "text", TEXT, "x") == "x"
                return
            except Unavailable:
                await asyncio.sleep(0.02)


async def _deploy(operator: Operator, one: Host, folder: Path) -> None:
    await operator.put_link("caller", "echo", "test:echo", "echo")
    await operator.start_component(one, "echo", image(folder, "echo", components.echo()))
    await operator.start_component(one, "caller", image(folder, "caller", components.caller()))


async def test_calls_fail_fast_and_everything_is_there_afterwards(nats: Nats, lattice: str, tmp_path: Path) -> None:
    async with operating(nats, lattice) as operator, running_host(nats.url, lattice, tmp_path) as one:
        await operator.put_config("before", it="stays")
        await _deploy(operator, one, tmp_path)

        await nats.stop()
        await eventually(lambda: not operator.connection.connected)
        with pytest.raises(Unavailable):
            await operator.call("caller", CALLER, "text", TEXT, "x")

        await nats.start_again()
        await eventually(lambda: operator.connection.connected)
        await _works(operator)
        inventory = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()
        assert {each.id for each in inventory.components} == {"echo", "caller"}
        assert (await operator.ask(config.GET, to="before")).unwrap() == {"it": "stays"}
        assert [each.target for each in (await operator.ask(link.GET)).unwrap()] == ["echo"]
        await operator.put_config("after", it="works")


async def test_links_within_a_host_need_no_nats(nats: Nats, lattice: str, tmp_path: Path) -> None:
    listeners = NotingListeners()
    async with (
        operating(nats, lattice) as operator,
        running_host(nats.url, lattice, tmp_path, listeners=listeners) as one,
        httpx.AsyncClient() as client,
    ):
        await operator.put_config("listen", address="127.0.0.1:0")
        await operator.put_link("counter", "store", "wasi:keyvalue", "store", "atomics")
        await operator.put_link("http", "counter", "wasi:http", "incoming-handler", source_config=("listen",))
        await operator.start_provider(one, "store", "python:trellis_providers.keyvalue_memory:KeyValueMemory")
        await operator.start_component(one, "counter", image(tmp_path, "counter", components.kv_counter_c()))
        await operator.start_provider(one, "http", "http-server")
        url = f"http://127.0.0.1:{listeners.ports[0]}/key"

        answers = [await client.get(url)]
        await nats.stop()
        await eventually(lambda: not operator.connection.connected)
        answers += [await client.get(url), await client.get(url)]
        await nats.start_again()
        await eventually(lambda: operator.connection.connected)
        answers += [await client.get(url)]

    assert [each.status_code for each in answers] == [200] * 4
    assert [each.text.strip() for each in answers] == [f"Counter key: {n}" for n in (1, 2, 3, 4)]


async def test_a_host_that_was_cut_off_says_so_when_it_is_back(nats: Nats, lattice: str, tmp_path: Path) -> None:
    async with running_host(nats.url, lattice, tmp_path) as one, operating(nats, lattice) as operator:
        assert one.inventory().cut_off is None
        await nats.stop()
        await eventually(lambda: one.inventory().cut_off is not None)
        await nats.start_again()
        await eventually(lambda: (one.inventory().cut_off or "").startswith("Was cut off"))
        await eventually(lambda: operator.connection.connected)
        told = await operator.ask(host.GET, to=one.state.host_id)
        assert "the connection to NATS was lost" in told.unwrap().cut_off


async def test_a_link_to_another_host_is_unavailable_meanwhile(nats: Nats, lattice: str, tmp_path: Path) -> None:
    listeners = NotingListeners()
    async with (
        operating(nats, lattice) as operator,
        running_host(nats.url, lattice, tmp_path, listeners=listeners) as one,
        running_host(nats.url, lattice, tmp_path, name="two") as two,
        httpx.AsyncClient() as client,
    ):
        await operator.put_config("listen", address="127.0.0.1:0")
        await operator.put_link("http", "hello", "wasi:http", "incoming-handler", source_config=("listen",))
        await operator.start_component(two, "hello", image(tmp_path, "hello", components.http_hello_c()))
        await operator.start_provider(one, "http", "http-server")
        url = f"http://127.0.0.1:{listeners.ports[0]}/"

        assert (await client.get(url)).status_code == 200
        await nats.stop()
        await eventually(lambda: not operator.connection.connected)
        assert (await client.get(url)).status_code == 503
        await nats.start_again()
        async with asyncio.timeout(PATIENCE):
            while (await client.get(url)).status_code != 200:
                await asyncio.sleep(0.02)


async def test_a_lattice_whose_data_was_lost_can_be_used_again(nats: Nats, lattice: str, tmp_path: Path) -> None:
    async with operating(nats, lattice) as operator, running_host(nats.url, lattice, tmp_path) as one:
        for number in range(5):  # revisions are high
            await operator.put_config("cfg", number=str(number))
        await _deploy(operator, one, tmp_path)
        await _works(operator)

        await nats.stop()
        nats.lose_data()
        await nats.start_again()
        await eventually(lambda: operator.connection.connected)
        await eventually(lambda: not one.shared.links.all())  # what is gone is gone everywhere
        with pytest.raises(TrellisError, match="test:echo/echo"):
            await operator.call("caller", CALLER, "text", TEXT, "x")

        await operator.put_config("cfg", number="new")
        await operator.put_link("caller", "echo", "test:echo", "echo")
        await eventually(lambda: one.shared.links.all())
        await _works(operator)
        assert (await operator.ask(config.GET, to="cfg")).unwrap() == {"number": "new"}
        await eventually(lambda: one.shared.known_config(["cfg"]) == {"number": "new"})


async def test_what_was_written_before_we_came_back_to_a_new_bucket_is_seen(
    nats: Nats, lattice: str, tmp_path: Path
) -> None:
    """Revisions begin anew with the bucket: one that is lower than ours is news all the same."""
    async with operating(nats, lattice) as operator, running_host(nats.url, lattice, tmp_path) as one:
        for number in range(5):
            await operator.put_config("cfg", number=str(number))
        await eventually(lambda: one.shared.known_config(["cfg"]) == {"number": "4"})
        await nats.stop()
        nats.lose_data()
        await nats.start_again()
        await eventually(lambda: operator.connection.connected)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await operator.put_config("cfg", number="new")
                    break
                except TrellisError:
                    await asyncio.sleep(0.01)
        await eventually(lambda: one.shared.known_config(["cfg"]) == {"number": "new"})


async def test_a_component_starts_although_nothing_can_be_stored(nats: Nats, lattice: str, tmp_path: Path) -> None:
    """As with a full disk: JetStream refuses writes."""
    async with operating(nats, lattice) as operator, running_host(nats.url, lattice, tmp_path) as one:
        stream = f"KV_LATTICEDATA_{lattice}"
        asked = await operator.connection.request(
            f"$JS.API.STREAM.INFO.{stream}", deadline=asyncio.get_running_loop().time() + 5
        )
        settings = {**json.loads(asked.data)["config"], "max_bytes": 1}
        answer = await operator.connection.request(
            f"$JS.API.STREAM.UPDATE.{stream}",
            json.dumps(settings).encode(),
            deadline=asyncio.get_running_loop().time() + 5,
        )
        assert b'"error"' not in answer.data
        await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))

        assert await operator.call("echo", "test:echo/echo@0.1.0", "text", TEXT, "x") == "x"
        with pytest.raises(TrellisError, match="maximum bytes"):
            await operator.put_link("a", "b", "test:c", "d")
