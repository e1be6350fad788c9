"""A component is exchanged for another while it is called: nothing is lost, and what cannot start changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fixtures import components
from tests.host.support import Operator, eventually, image, running_host
from trellis_host.host import Host
from trellis_lattice.control import component
from trellis_lattice.errors import NotFound
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Provider, provides, u64

TEXT = FuncType((("text", Primitive.STRING),), Primitive.STRING)
WAIT = FuncType((("ms", Primitive.U64),), Primitive.U64)
SWAPS = 10
PER_SECOND = 200


def variant(wasm: bytes, number: int) -> bytes:
    """The same component in other bytes: with a custom section."""
    return wasm + b"\x00\x03\x01v" + bytes([number])


@provides("test:waiter/provider@0.1.0")
class Gate(Provider):
    """Lets nobody through until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.entered = 0

    async def wait(self, ms: u64) -> u64:
        self.entered += 1
        await self.opened.wait()
        return ms


@asynccontextmanager
async def steady_calls(
    operator: Operator, target: str, interface: str = "test:echo/echo@0.1.0"
) -> AsyncIterator[list[Any]]:
    """Two hundred calls a second, whatever becomes of each; their outcomes when the block has ended."""
    outcomes: list[Any] = []
    over = False

    async def one(number: int) -> None:
        try:
            outcomes.append(await operator.call(target, interface, "text", TEXT, str(number)))
        except Exception as error:
            outcomes.append(error)

    async def all_the_time() -> None:
        loop = asyncio.get_running_loop()
        begun, number = loop.time(), 0
        async with asyncio.TaskGroup() as calls:
            while not over:
                calls.create_task(one(number))
                number += 1
                await asyncio.sleep(max(0.0, begun + number / PER_SECOND - loop.time()))

    calling = asyncio.create_task(all_the_time())
    try:
        yield outcomes
    finally:
        over = True
        await calling


async def swap(operator: Operator, host: Host, id: str, to: str) -> None:
    answer = await operator.scale(host, id, to, allow_update=True)
    assert answer.message.endswith("The component will be updated.")
    await operator.heard("component_scaled", component_id=id, image_ref=to)
    await operator.heard("component_scaled", component_id=id, max_instances=0)


async def test_no_call_fails_while_the_image_is_exchanged_ten_times(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    images = [image(tmp_path, f"echo-{n}", variant(components.echo(), n)) for n in range(SWAPS + 1)]
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.start_component(one, "echo", images[0], 100)
        async with steady_calls(operator, "echo") as outcomes:
            for number, to in enumerate(images[1:], 1):
                seen = len(outcomes)
                await swap(operator, one, "echo", to)
                assert one.inventory().components[0].image_ref == images[number]
                await eventually(lambda seen=seen: len(outcomes) > seen + 20)

    assert len(outcomes) > SWAPS * 20
    assert [each for each in outcomes if not isinstance(each, str)] == []
    assert sorted(map(int, outcomes)) == list(range(len(outcomes)))


async def test_what_is_in_flight_ends_in_the_old_image(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Gate) as one:
        await operator.put_link("waiter", "gate", "test:waiter", "provider")
        await operator.start_provider(one, "gate", "gate")
        await operator.start_component(one, "waiter", image(tmp_path, "waiter", components.waiter()))
        gate = one.workloads.providers[0].runner.provider
        assert isinstance(gate, Gate)
        calls = [
            asyncio.create_task(operator.call("waiter", "test:waiter/waiter@0.1.0", "run", WAIT, n)) for n in range(4)
        ]
        await eventually(lambda: gate.entered == 4)
        await swap(operator, one, "waiter", image(tmp_path, "newer", variant(components.waiter(), 1)))
        old = one.inventory(calls=True)
        gate.opened.set()

        assert await asyncio.gather(*calls) == list(range(4))
        assert old.in_flight >= 4
        await eventually(lambda: one.workloads.in_flight == 0)


async def test_a_new_image_that_cannot_start_leaves_the_old_one_at_work(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    good = image(tmp_path, "echo", components.echo())
    gone = (tmp_path / "gone.wasm").as_uri()
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.start_component(one, "echo", good, 7, annotations={"k": "v"})
        async with steady_calls(operator, "echo") as outcomes:
            await operator.scale(one, "echo", gone, 9, annotations={"k": "w"}, allow_update=True)
            failed = await operator.heard("component_scale_failed", component_id="echo", image_ref=gone)
            request = component.Update(component_id="echo", new_component_ref=gone)
            answer = await operator.ask(component.UPDATE, request, one.state.host_id)
            await operator.heard("component_scale_failed", component_id="echo", image_ref=gone)

    assert isinstance(failed.event.exception, NotFound)
    assert answer.message == f"component echo updating from {good} to {gone}"
    [still] = one.inventory().components
    assert (still.image_ref, still.max_instances, still.annotations) == (good, 7, {"k": "v"})
    assert [each for each in outcomes if not isinstance(each, str)] == []


async def test_an_update_is_announced_as_v1_does(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """The new one at the old count, then the old one with none."""
    old, new = (image(tmp_path, name, variant(components.echo(), n)) for n, name in enumerate(("old", "new")))
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.start_component(one, "echo", old, 3)
        operator.events.clear()
        request = component.Update(component_id="echo", new_component_ref=new)
        answer = await operator.ask(component.UPDATE, request, one.state.host_id)
        await eventually(lambda: sum(each.kind == "component_scaled" for each in operator.events) == 2)
        again = await operator.ask(component.UPDATE, request, one.state.host_id)
        unknown = component.Update(component_id="x", new_component_ref=new)
        missing = await operator.ask(component.UPDATE, unknown, one.state.host_id)

    told = [
        (each.data["image_ref"], each.data["max_instances"]) for each in operator.events if "image_ref" in each.data
    ]
    assert told == [(new, 3), (old, 0)]
    assert (answer.success, again.message) == (True, f"component echo already updated to {new}")
    assert (missing.success, missing.message) == (False, "component x not found")
