"""Calls through hosts: limits of each, cancellation, deadlines, refusals, many at once, links that change meanwhile."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import httpx
import pytest

from tests.fixtures import components
from tests.host.support import PATIENCE, NotingListeners, Operator, eventually, image, running_host, soon
from trellis_host.host import Host
from trellis_host.wasi.logs import MAX_RECORDS
from trellis_lattice.bus.beats import MembershipWatcher
from trellis_lattice.bus.membership import Change, ChangeKind
from trellis_lattice.control import host, link
from trellis_lattice.errors import DeadlineExceeded, InvocationFailed, Overloaded, TrellisError
from trellis_lattice.invocation import subjects
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.headers import Address, request_headers
from trellis_lattice.links import LinkId
from trellis_lattice.wit.cbor import dumps
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Provider, ProviderLink, provides, u64

TEXT = FuncType((("text", Primitive.STRING),), Primitive.STRING)
WAIT = FuncType((("ms", Primitive.U64),), Primitive.U64)
NUMBER = FuncType((("n", Primitive.U32),))
NONE = FuncType(())
U32 = FuncType((), Primitive.U32)
FAULTS, FLOOD, WAITER = "test:faults/faults@0.1.0", "test:flood/flood@0.1.0", "test:waiter/waiter@0.1.0"
CALLER = "test:caller/caller@0.1.0"


@provides("test:waiter/provider@0.1.0")
class Gate(Provider):
    """Lets nobody through until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.entered = 0
        self.cancelled = 0

    async def wait(self, ms: u64) -> u64:
        self.entered += 1
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ms


def find(reference: str) -> type[Provider]:
    return {"gate": Gate, "loud": Loud, "quiet": Quiet}[reference]


@provides("test:echo/echo@0.1.0")
class Loud(Provider):
    async def text(self, text: str) -> str:
        return text.upper()


@provides("test:echo/echo@0.1.0")
class Quiet(Provider):
    async def text(self, text: str) -> str:
        return text.lower()


def gate_of(one: Host) -> Gate:
    [gate] = [each.runner.provider for each in one.workloads.providers if isinstance(each.runner.provider, Gate)]
    return gate


async def _deploy_waiter(operator: Operator, front: Host, back: Host, folder: Path, count: int = 10) -> Gate:
    await operator.put_link("waiter", "gate", "test:waiter", "provider")
    await operator.start_provider(back, "gate", "gate")
    await operator.start_component(front, "waiter", image(folder, "waiter", components.waiter()), count=count)
    return gate_of(back)


def _waiting(operator: Operator, deadline: float, number: int = 1) -> asyncio.Task[object]:
    call = Call("waiter", WAITER, "run", (number,), WAIT, deadline, "test")
    return asyncio.create_task(operator.invoker.invoke(call))


async def test_all_kinds_of_trouble_at_once_harm_only_their_own_calls(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trellis.component.flood")
    async with running_host(nats_server, lattice, tmp_path) as one:
        limits = {"max_execution_time": "1000", "max_memory_limit": str(4 * 2**20)}
        faults = image(tmp_path, "faults", components.faults())
        await operator.start_component(one, "faults", faults, count=50, component_limits=limits)
        await operator.start_component(one, "flood", image(tmp_path, "flood", components.flood()))
        await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))

        endless = [asyncio.create_task(operator.call("faults", FAULTS, "endless", NONE)) for _ in range(5)]
        trouble = [
            *(asyncio.create_task(operator.call("faults", FAULTS, each, U32)) for each in ("recurse", "out-of-bounds")),
            asyncio.create_task(operator.call("faults", FAULTS, "trap", NONE)),
        ]
        hungry = asyncio.create_task(operator.call("faults", FAULTS, "hungry", U32))
        flooding = asyncio.create_task(operator.call("flood", FLOOD, "write", NUMBER, 5000))
        greedy = asyncio.create_task(operator.call("flood", FLOOD, "open", NUMBER, 100_000))
        for number in range(50):
            assert await operator.call("echo", "test:echo/echo@0.1.0", "text", TEXT, str(number)) == str(number)
        outcomes = await asyncio.gather(*endless, *trouble, greedy, return_exceptions=True)
        pages = await hungry
        await flooding

        assert [type(each) for each in outcomes[:5]] == [DeadlineExceeded] * 5
        assert [type(each) for each in outcomes[5:8]] == [InvocationFailed] * 3
        assert isinstance(outcomes[8], TrellisError)
        assert pages <= 4 * 16
        assert await operator.call("faults", FAULTS, "fine", U32) == 42
    records = [each for each in caplog.records if each.name == "trellis.component.flood"]
    assert len(records) == MAX_RECORDS + 1
    assert "4000 more records" in records[-1].getMessage()


@pytest.mark.parametrize("hosts", [1, 2])
async def test_a_call_whose_caller_is_cancelled_is_cancelled_on_every_hop(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, hosts: int
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="front", find_provider=find) as front,
        running_host(nats_server, lattice, tmp_path, name="back", find_provider=find) as back,
    ):
        gate = await _deploy_waiter(operator, front, back if hosts == 2 else front, tmp_path)
        call = _waiting(operator, soon())
        await eventually(lambda: gate.entered)
        call.cancel()

        await eventually(lambda: gate.cancelled == 1)
        waiter = front.workloads.component("waiter")
        assert waiter is not None
        await eventually(lambda: waiter.in_flight == 0)


async def test_a_deadline_holds_over_two_hops_and_arrives_as_such(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="front", find_provider=find) as front,
        running_host(nats_server, lattice, tmp_path, name="back", find_provider=find) as back,
    ):
        gate = await _deploy_waiter(operator, front, back, tmp_path)
        with pytest.raises(DeadlineExceeded):
            await _waiting(operator, soon(0.3))

        await eventually(lambda: gate.cancelled == 1)


async def test_a_limit_of_the_callee_arrives_at_the_first_caller_as_what_it_is(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    limits = {"max_execution_time": "200"}
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        await operator.put_link("waiter", "gate", "test:waiter", "provider")
        await operator.start_provider(one, "gate", "gate")
        waiter = image(tmp_path, "waiter", components.waiter())
        await operator.start_component(one, "waiter", waiter, component_limits=limits)
        with pytest.raises(DeadlineExceeded):
            await _waiting(operator, soon())
        gate = gate_of(one)
        await eventually(lambda: gate.cancelled == 1)


async def test_a_full_component_refuses_with_the_time_to_try_again(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        gate = await _deploy_waiter(operator, one, one, tmp_path, count=1)
        waiter = one.workloads.component("waiter")
        assert waiter is not None
        waiter.slots.patience = 0.05
        first = _waiting(operator, soon())
        await eventually(lambda: gate.entered)
        with pytest.raises(Overloaded) as refused:
            await _waiting(operator, soon())
        gate.opened.set()

        assert await first == 1
    assert refused.value.retry_after > 0
    assert refused.value.fields["component"] == "waiter"
    assert not refused.value.fields.get("maybe_executed")


async def test_a_thousand_calls_wait_on_a_provider_at_once(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=find, max_in_flight=1100) as one:
        gate = await _deploy_waiter(operator, one, one, tmp_path, count=1000)
        calls = [_waiting(operator, soon(60), number) for number in range(1000)]
        await eventually(lambda: gate.entered == 1000)
        assert not any(call.done() for call in calls)
        gate.opened.set()

        assert await asyncio.gather(*calls) == list(range(1000))


async def test_a_call_that_comes_twice_is_executed_once(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    answers: list[bytes] = []
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        gate = await _deploy_waiter(operator, one, one, tmp_path)
        inbox = operator.connection.inbox(lambda message: answers.append(message.data))
        headers = request_headers(Address("test", "default", WAITER, "run", False), 20_000, None, None)
        for _ in range(2):
            await operator.connection.publish(
                subjects.rpc(lattice, "waiter"), dumps([7]), reply=inbox.subject, headers=headers
            )
        await eventually(lambda: gate.entered)
        gate.opened.set()
        await eventually(lambda: dumps(7) in answers)
        inbox.close()

    assert gate.entered == 1
    assert answers.count(dumps(7)) == 1


async def test_a_link_is_moved_while_calls_flow(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    answers: list[object] = []
    over = False

    async def call_all_the_time() -> None:
        while not over:
            try:
                answers.append(await operator.call("caller", CALLER, "text", TEXT, "Sh"))
            except TrellisError as error:
                answers.append(error)

    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        await operator.put_link("caller", "loud", "test:echo", "echo")
        for each in ("loud", "quiet"):
            await operator.start_provider(one, each, each)
        await operator.start_component(one, "caller", image(tmp_path, "caller", components.caller()))
        callers = [asyncio.create_task(call_all_the_time()) for _ in range(4)]
        await eventually(lambda: "SH" in answers)
        await operator.ask(
            link.DEL, LinkId(source_id="caller", name="default", wit_namespace="test", wit_package="echo")
        )
        await eventually(lambda: isinstance(answers[-1], TrellisError))
        await operator.put_link("caller", "quiet", "test:echo", "echo")
        await eventually(lambda: answers[-1] == "sh")
        over = True
        await asyncio.gather(*callers)

    errors = [each for each in answers if isinstance(each, TrellisError)]
    assert set(map(str, answers)) == {"SH", "sh", *map(str, errors)}
    assert all("test:echo/echo" in str(each) for each in errors)


async def test_a_new_address_of_a_link_reaches_the_http_server(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    listeners = NotingListeners()
    async with (
        running_host(nats_server, lattice, tmp_path, listeners=listeners) as one,
        httpx.AsyncClient() as client,
    ):
        await operator.put_config("listen", address="127.0.0.1:0")
        await operator.put_link("http", "hello", "wasi:http", "incoming-handler", source_config=("listen",))
        await operator.start_component(one, "hello", image(tmp_path, "hello", components.http_hello_c()))
        await operator.start_provider(one, "http", "http-server")
        [old] = listeners.ports
        assert (await client.get(f"http://127.0.0.1:{old}/")).status_code == 200

        await operator.put_config("listen", address="127.0.0.2:0")
        await eventually(lambda: len(listeners.ports) == 2)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    answer = await client.get(f"http://127.0.0.2:{listeners.ports[1]}/")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.01)
        assert answer.status_code == 200


async def test_a_deleted_config_leaves_what_it_made_in_force(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    from trellis_lattice.control import config

    links: list[ProviderLink] = []

    class Noting(Gate):
        async def link_put(self, link: ProviderLink) -> None:
            links.append(link)

    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Noting) as one:
        await operator.put_config("cfg", a="1")
        await operator.put_link("it", "there", "test:a", "b", source_config=("cfg",))
        await operator.start_provider(one, "it", "x", config=("cfg",))
        [running] = one.workloads.providers
        (await operator.ask(config.DEL, to="cfg")).unwrap()
        await eventually(lambda: running.refused_links)
        assert [each.source_config for each in running.runner.links] == [{"a": "1"}]
        assert "cfg" in next(iter(running.refused_links.values()))
        await operator.put_config("cfg", a="2")
        await eventually(lambda: links[-1].source_config == {"a": "2"})
        assert not running.refused_links


async def test_a_config_that_is_missing_leaves_a_component_as_it_was(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        echo = image(tmp_path, "echo", components.echo())
        await operator.start_component(one, "echo", echo, count=3)
        await operator.scale(one, "echo", echo, 5, config=("missing",))
        failed = await operator.heard("component_scale_failed", component_id="echo")
        inventory = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()

        assert await operator.call("echo", "test:echo/echo@0.1.0", "text", TEXT, "x") == "x"
    assert "missing" in failed.data["error"]
    assert [each.max_instances for each in inventory.components] == [3]
    assert not [each for each in operator.events if each.kind == "component_scaled"]


async def test_heartbeat_beat_and_inventory_agree_and_a_restart_is_seen(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    changes: list[Change] = []
    watcher = MembershipWatcher(operator.connection, lattice, changes.append)
    await watcher.start()
    try:
        async with running_host(nats_server, lattice, tmp_path, boot=1) as one:
            await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))
            heartbeat = await operator.heard("host_heartbeat")
            inventory = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()
            members = watcher.membership.members
            await eventually(lambda: members[one.state.host_id].beat.revision == one.state.revision)
            assert [each["id"] for each in heartbeat.data["components"]] == ["echo"]
            assert [each.id for each in inventory.components] == ["echo"]
            # A second process of the same host: the first was killed, and had no time to say goodbye.
            async with running_host(nats_server, lattice, tmp_path, boot=2) as two:
                await eventually(lambda: ChangeKind.RESTARTED in [each.kind for each in changes])
                assert two.state.host_id == one.state.host_id
    finally:
        await watcher.aclose()
