"""A host on a real lattice: joins, runs components, honours links and limits, leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fixtures import components
from tests.host.support import Operator, image, running_host
from trellis_host.runtime.launch import MANAGED_BY
from trellis_lattice.control import component, config, host, label, link
from trellis_lattice.errors import Conflict, InvocationFailed, NotFound, TrellisError, Unavailable
from trellis_lattice.http import HANDLE, HANDLE_TYPE, HttpRequest, HttpResponse
from trellis_lattice.links import Link
from trellis_lattice.streams import read_all
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Provider, provides, u64

TEXT = FuncType((("text", Primitive.STRING),), Primitive.STRING)
NONE = FuncType(())
U32 = FuncType((), Primitive.U32)


async def test_it_announces_itself_and_answers_ping_and_inventory(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, labels={"zone": "a"}) as one:
        started = await operator.heard("host_started")
        pong = (await operator.ask(host.PING)).unwrap()
        inventory = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()

    stopped = await operator.heard("host_stopped")
    assert started.source == stopped.source == pong.id == inventory.host_id == one.state.host_id
    assert started.data["labels"]["zone"] == pong.labels["zone"] == "a"
    assert pong.lattice == lattice
    assert inventory.components == inventory.providers == ()


async def test_a_component_answers_http(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.start_component(one, "hello", image(tmp_path, "hello", components.http_hello_c()))
        request = HttpRequest("GET", "/", "http", "localhost", [])
        response = await operator.call("hello", "wasi:http/incoming-handler", HANDLE, HANDLE_TYPE, request)

        assert isinstance(response, HttpResponse)
        assert response.status == 200
        assert await read_all(response.body, 1000) == b"Hello from C!\n"


async def test_a_component_calls_another_over_a_link(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.put_link("caller", "echo", "test:echo", "echo")
        await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))
        await operator.start_component(one, "caller", image(tmp_path, "caller", components.caller()))

        assert await operator.call("caller", "test:caller/caller@0.1.0", "text", TEXT, "ping") == "ping"
        told = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()
        assert told.calls == (host.CallCount(source="caller", target="echo", local=1),)
        assert one.inventory().calls is None  # heartbeats stay small


async def test_calls_cross_hosts_and_nobody_knows(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two") as two,
    ):
        await operator.put_link("caller", "echo", "test:echo", "echo")
        await operator.start_component(one, "caller", image(tmp_path, "caller", components.caller()))
        await operator.start_component(two, "echo", image(tmp_path, "echo", components.echo()))

        assert await operator.call("caller", "test:caller/caller@0.1.0", "text", TEXT, "ping") == "ping"
        told = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()
        assert told.calls == (host.CallCount(source="caller", target="echo", lattice=1),)


async def test_a_missing_link_is_a_clear_error(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        orphan = image(tmp_path, "orphan", components.orphan())
        await operator.scale(one, "managed", orphan, annotations={MANAGED_BY: "wadm"})
        failed = await operator.heard("component_scale_failed", component_id="managed")
        await operator.start_component(one, "by-hand", orphan)

        with pytest.raises(TrellisError) as error:
            await operator.call("by-hand", "test:caller/caller@0.1.0", "ask", TEXT, "x")

    assert "nobody:provides/this@0.1.0" in failed.data["error"]
    assert "nobody:provides/this" in str(error.value)


@provides("test:waiter/provider@0.1.0")
class Waiter(Provider):
    """What the component `waiter` imports."""

    async def wait(self, ms: u64) -> u64:
        return ms


@provides("test:waiter/provider@0.1.0")
class OtherWaiter(Provider):
    """The same in name only."""

    async def wait(self, ms: str) -> u64:
        return len(ms)


async def test_a_component_calls_a_provider(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    type = FuncType((("ms", Primitive.U64),), Primitive.U64)
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Waiter) as one:
        await operator.put_link("waiter", "provider", "test:waiter", "provider")
        await operator.start_provider(one, "provider", "waiter")
        await operator.start_component(one, "waiter", image(tmp_path, "waiter", components.waiter()))

        assert await operator.call("waiter", "test:waiter/waiter@0.1.0", "run", type, 7) == 7


async def test_two_ends_of_a_link_must_agree_on_types(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: OtherWaiter) as one:
        await operator.put_link("waiter", "provider", "test:waiter", "provider")
        await operator.start_provider(one, "provider", "waiter")
        await operator.scale(one, "waiter", image(tmp_path, "waiter", components.waiter()))
        failed = await operator.heard("component_scale_failed", component_id="waiter")

    assert "u64" in failed.data["error"]
    assert "string" in failed.data["error"]


@pytest.mark.parametrize("function", ["trap", "recurse", "out-of-bounds"])
async def test_a_failing_component_harms_only_its_own_call(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, function: str
) -> None:
    faults = "test:faults/faults@0.1.0"
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.start_component(one, "faults", image(tmp_path, "faults", components.faults()))
        type = NONE if function == "trap" else U32

        with pytest.raises(InvocationFailed) as failed:
            await operator.call("faults", faults, function, type)

        assert failed.value.fields["component"] == "faults"
        assert await operator.call("faults", faults, "fine", U32) == 42


async def test_an_endless_component_ends_at_its_limit(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        faults = image(tmp_path, "faults", components.faults())
        await operator.start_component(one, "faults", faults, component_limits={"max_execution_time": "200"})

        with pytest.raises(TrellisError) as ended:
            await operator.call("faults", "test:faults/faults@0.1.0", "endless", NONE)

    assert ended.value.code == "deadline-exceeded"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello, world", "not"),
        (b"\x00asm\x01\x00\x00\x00", "core webassembly module"),
        (components.echo()[:200], "copied whole"),
    ],
)
async def test_what_is_not_a_component_does_not_start(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, content: bytes, says: str
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.scale(one, "broken", image(tmp_path, "broken", content))
        failed = await operator.heard("component_scale_failed", component_id="broken")
        inventory = (await operator.ask(host.GET, to=one.state.host_id)).unwrap()

    assert says in failed.data["error"].lower()
    assert inventory.components == ()


async def test_stopping_a_component_frees_its_id(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))
        await operator.scale(one, "echo", "", 0)
        await operator.heard("component_scaled", component_id="echo", max_instances=0)
        async with asyncio.timeout(10):
            while True:
                try:
                    await operator.call("echo", "test:echo/echo@0.1.0", "text", TEXT, "x")
                except (Unavailable, NotFound):
                    break


async def test_an_update_replaces_the_image(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        old, new = image(tmp_path, "old", components.add()), image(tmp_path, "new", components.echo())
        await operator.start_component(one, "it", old)
        answer = await operator.ask(
            component.UPDATE, component.Update(component_id="it", new_component_ref=new), one.state.host_id
        )
        await operator.heard("component_scaled", component_id="it", image_ref=new, max_instances=10)
        await operator.heard("component_scaled", component_id="it", image_ref=old, max_instances=0)

        assert answer.message == f"component it updating from {old} to {new}"
        assert await operator.call("it", "test:echo/echo@0.1.0", "text", TEXT, "x") == "x"


async def test_links_and_config_are_shared_state(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path):
        await operator.put_config("a", key="value")
        assert (await operator.ask(config.GET, to="a")).unwrap() == {"key": "value"}
        await operator.put_link("x", "y", "wasi:keyvalue", "store", target_config=("a",))
        with pytest.raises(Conflict):
            await operator.put_link("x", "z", "wasi:keyvalue", "store")
        with pytest.raises(TrellisError):
            await operator.put_link("x", "z", "wasi:blobstore", "blobstore", target_config=("missing",))

    await operator.heard("linkdef_set", source_id="x")
    await operator.heard("linkdef_set_failed", target="z")
    async with running_host(nats_server, lattice, tmp_path, name="two"):
        links = (await operator.ask(link.GET)).unwrap()
        assert [each.target for each in links] == ["y"]
        await operator.ask(link.DEL, links[0].id)
        await operator.heard("linkdef_deleted", source_id="x", target="y")
        assert isinstance(links[0], Link)


async def test_labels_change(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        await operator.ask(label.PUT, label.Label(key="zone", value="b"), me)
        changed = await operator.heard("labels_changed")
        refused = await operator.ask(label.PUT, label.Label(key="hostcore.os", value="x"), me)
        gone = await operator.ask(label.DEL, label.LabelKey(key="zone"), me)

    assert changed.data["labels"]["zone"] == "b"
    assert not refused.success
    assert gone.message == "successfully deleted label"


async def test_auctions_are_bid_for_by_those_who_fit(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one", labels={"zone": "a"}) as one,
        running_host(nats_server, lattice, tmp_path, name="two", labels={"zone": "b"}),
    ):
        auction = component.ComponentAuction(component_ref="x", component_id="x", constraints={"zone": "a"})
        bid = (await operator.ask(component.AUCTION, auction)).unwrap()

    assert bid.host_id == one.state.host_id


async def test_config_is_live(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    from trellis_lattice.wit import Err, Ok, Option, Result, Variant

    error = Variant((("upstream", Primitive.STRING), ("io", Primitive.STRING)))
    type = FuncType((("key", Primitive.STRING),), Result(Option(Primitive.STRING), error))
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.put_config("cfg", greeting="hello")
        await operator.start_component(one, "c", image(tmp_path, "config", components.config()), config=("cfg",))

        async def get() -> Ok[str | None] | Err[object]:
            answer = await operator.call("c", "test:config/config@0.1.0", "get", type, "greeting")
            assert isinstance(answer, Ok | Err)
            return answer

        assert await get() == Ok("hello")
        await operator.put_config("cfg", greeting="good day")
        async with asyncio.timeout(10):
            while await get() != Ok("good day"):
                pass
