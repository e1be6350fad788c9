"""How a host leaves: at any moment, in an order that loses nothing, and never half."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.fixtures import components
from tests.host.support import PATIENCE, NotingListeners, Operator, eventually, image, running_host
from trellis_host.host import Host
from trellis_host.runtime import background
from trellis_host.self_description import SelfDescription
from trellis_host.settings import HostSettings
from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.membership import Beat
from trellis_lattice.control import host
from trellis_lattice.errors import Unavailable
from trellis_lattice.ids import HostKey
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Err, Ok, Provider, find_provider, provides, u64
from trellis_provider_sdk.keyvalue import Bucket, StoreError
from trellis_providers.keyvalue_memory import KeyValueMemory

WAIT = FuncType((("ms", Primitive.U64),), Primitive.U64)
TEXT = FuncType((("text", Primitive.STRING),), Primitive.STRING)
WAITER = "test:waiter/waiter@0.1.0"


@provides("test:waiter/provider@0.1.0")
class Gate(Provider):
    """Lets nobody through until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.entered = 0
        self.left = 0
        self.stopped = False

    async def wait(self, ms: u64) -> u64:
        self.entered += 1
        try:
            await self.opened.wait()
        finally:
            self.left += 1
        assert not self.stopped, "it is asked after its end"
        return ms

    async def stop(self) -> None:
        self.stopped = True


def gate_of(one: Host) -> Gate:
    [running] = one.workloads.providers
    assert isinstance(running.runner.provider, Gate)
    return running.runner.provider


class Service:
    """A service of a host that fails the first time, and may not want to end."""

    def __init__(self, *, fails: int = 0, ends: bool = True) -> None:
        self.runs = 0
        self.fails = fails
        self.ends = ends

    async def run(self, connection: Connection, stop: asyncio.Event) -> None:
        self.runs += 1
        if self.runs <= self.fails:
            raise RuntimeError("the service failed")
        await (stop.wait() if self.ends else asyncio.Event().wait())


async def test_a_component_that_is_called_while_its_host_leaves_is_still_there(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """What is in flight may still call what is idle at that moment: first the gate, then the echo."""
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Gate) as one:
        await operator.put_link("waiter", "gate", "test:waiter", "provider")
        await operator.start_provider(one, "gate", "gate")
        await operator.start_component(one, "waiter", image(tmp_path, "waiter", components.waiter()))
        await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))
        gate = gate_of(one)
        calls = [asyncio.create_task(operator.call("waiter", WAITER, "run", WAIT, n)) for n in range(8)]
        await eventually(lambda: gate.entered == len(calls))
        one.request_stop()
        await operator_hears_drain(one)
        gate.opened.set()

        assert await asyncio.gather(*calls) == list(range(8))
    assert gate.stopped


async def operator_hears_drain(one: Host) -> None:
    """Waits until the host takes no more from the lattice."""
    await eventually(lambda: not one.workloads.components and not one.workloads.providers)


async def test_draining_one_of_two_hosts_under_load_loses_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    failures: list[Exception] = []
    answered = 0
    over = False

    async def call_all_the_time() -> None:
        nonlocal answered
        while not over:
            try:
                assert await operator.call("caller", "test:caller/caller@0.1.0", "text", TEXT, "x") == "x"
                answered += 1
            except Exception as error:
                failures.append(error)

    async with running_host(nats_server, lattice, tmp_path, name="stays") as stays:
        await operator.put_link("caller", "echo", "test:echo", "echo")
        async with running_host(nats_server, lattice, tmp_path, name="goes") as goes:
            for each in (stays, goes):
                await operator.start_component(each, "echo", image(tmp_path, "echo", components.echo()))
                await operator.start_component(each, "caller", image(tmp_path, "caller", components.caller()))
            callers = [asyncio.create_task(call_all_the_time()) for _ in range(16)]
            await eventually(lambda: answered >= 100)
        after = answered
        await eventually(lambda: answered >= after + 100)
        over = True
        await asyncio.gather(*callers)

    assert failures == []


async def test_a_host_stops_while_it_fetches(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.scale(one, "slow", f"http://127.0.0.1:{port}/slow.wasm")
        await asked.wait()
    server.close()
    await server.wait_closed()

    failed = await operator.heard("component_scale_failed", component_id="slow")
    await operator.heard("host_stopped")
    assert failed.data["error"]


async def test_a_host_that_is_full_of_endless_calls_stops_all_the_same(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Gate) as one:
        await operator.put_link("waiter", "gate", "test:waiter", "provider")
        await operator.start_provider(one, "gate", "gate")
        await operator.start_component(one, "waiter", image(tmp_path, "waiter", components.waiter()))
        gate = gate_of(one)
        call = asyncio.create_task(operator.call("waiter", WAITER, "run", WAIT, 1))
        await eventually(lambda: gate.entered)
        one.request_stop(grace=0.1)
        with pytest.raises(Unavailable):
            await call
    assert gate.left == 1


async def test_a_host_without_nats_says_so(lattice: str, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        async with running_host("nats://127.0.0.1:1", lattice, tmp_path):
            pass


async def test_a_host_that_is_cancelled_while_it_joins_leaves_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """At any step: each round goes one step of the event loop further."""
    settings = HostSettings(
        key=HostKey.from_bytes(hashlib.sha256(lattice.encode()).digest()),
        friendly_name="early",
        cache_dir=tmp_path / "cache",
        nats=ConnectionSettings(urls=(nats_server,)),
        lattice=lattice,
        max_in_flight=16,
    )
    before = asyncio.all_tasks()
    for steps in range(60):
        early = Host(settings)
        life = asyncio.create_task(early.run())
        for _ in range(steps):
            await asyncio.sleep(0)
        life.cancel()
        await asyncio.wait((life,), timeout=PATIENCE)
        assert life.cancelled()
    await eventually(lambda: asyncio.all_tasks() <= before)


async def test_a_service_that_fails_is_run_again_and_the_host_goes_on(
    nats_server: str,
    lattice: str,
    operator: Operator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(background, "AGAIN", 0.01)
    service = Service(fails=2)
    async with running_host(nats_server, lattice, tmp_path, services=[service]) as one:
        await eventually(lambda: service.runs == 3)
        assert (await operator.ask(host.GET, to=one.state.host_id)).success

    assert "the service failed" in caplog.text


async def test_a_service_that_does_not_end_is_cancelled(
    nats_server: str, lattice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trellis_host.host.SERVICE_TIMEOUT", 0.1)
    async with running_host(nats_server, lattice, tmp_path, services=[Service(ends=False)]):
        pass


@pytest.mark.parametrize("part", ["inventory", "status"])
async def test_a_background_task_that_fails_does_not_leave_half_a_host(
    nats_server: str,
    lattice: str,
    operator: Operator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    """Heartbeats and beats ask the host what it runs; that fails here for a while."""
    monkeypatch.setattr(background, "AGAIN", 0.01)
    monkeypatch.setattr("trellis_host.self_description.HEARTBEAT_SETTLING", 0.0)
    async with running_host(nats_server, lattice, tmp_path) as one:
        with monkeypatch.context() as broken:

            def fail(self: SelfDescription, *args: object) -> Mapping[str, str]:
                raise RuntimeError(f"{part} is broken")

            broken.setattr(SelfDescription, part, fail)
            await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))
            await eventually(lambda: f"{part} is broken" in caplog.text)
        operator.events.clear()
        await operator.start_component(one, "again", image(tmp_path, "again", components.add()))
        beat = await operator.heard("host_heartbeat")

    assert {each["id"] for each in beat.data["components"]} >= {"echo"}


async def test_a_host_that_leaves_says_so_at_once_and_bids_for_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trellis_host.host.SERVICE_TIMEOUT", 0.1)
    beats: list[Beat | None] = []
    await operator.connection.subscribe(
        subjects.beats(lattice), lambda message: beats.append(Beat.decode(message.data, "the host"))
    )
    async with running_host(nats_server, lattice, tmp_path, services=[Service(ends=False)]) as one:
        one.request_stop()

        await eventually(lambda: any(beat is not None and beat.draining for beat in beats))
        assert not one.would_take({})


class Gated(KeyValueMemory):
    """Keeps who increments until it is opened."""

    opened: asyncio.Event
    entered = 0

    async def increment(self, bucket: Bucket, key: str, delta: u64) -> Ok[u64] | Err[StoreError]:
        type(self).entered += 1
        await self.opened.wait()
        return await super().increment(bucket, key, delta)


async def test_http_requests_in_flight_are_answered_while_their_host_leaves(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """The listener closes first, then components end, and the store behind them last."""
    Gated.opened, Gated.entered = asyncio.Event(), 0
    listeners = NotingListeners()

    def find(reference: str) -> type[Provider]:
        return Gated if reference == "gated" else find_provider(reference)

    async with (
        running_host(nats_server, lattice, tmp_path, listeners=listeners, find_provider=find) as one,
        httpx.AsyncClient() as client,
    ):
        await operator.put_config("listen", address="127.0.0.1:0")
        await operator.put_link("counter", "store", "wasi:keyvalue", "store", "atomics")
        await operator.put_link("http", "counter", "wasi:http", "incoming-handler", source_config=("listen",))
        await operator.start_provider(one, "store", "gated")
        await operator.start_component(one, "counter", image(tmp_path, "counter", components.kv_counter_c()))
        await operator.start_provider(one, "http", "http-server")
        url = f"http://127.0.0.1:{listeners.ports[0]}/key"
        requests = [asyncio.create_task(client.get(url)) for _ in range(10)]
        await eventually(lambda: Gated.entered == len(requests))
        one.request_stop()
        await eventually(lambda: not one.workloads.providers)
        Gated.opened.set()
        answers = await asyncio.gather(*requests)

    assert {each.status_code for each in answers} == {200}
    assert {each.text.strip() for each in answers} == {f"Counter key: {n}" for n in range(1, 11)}
