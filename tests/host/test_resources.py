"""Resources of a component, used from elsewhere: handles, their owner's own subject, and their end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from wasmtime import wat2wasm

from tests.host.support import PATIENCE, Operator, image, running_host, soon
from trellis_host.host import Host
from trellis_lattice.errors import Unavailable
from trellis_lattice.invocation.api import Call, Handle
from trellis_lattice.wit.types import Borrow, FuncType, Own, Primitive, ResourceId

COUNTERS = "test:own/counters@1.2.3"
COUNTER = ResourceId("test:own/counters", "counter")
MAKE = FuncType((("n", Primitive.U32),), Own(COUNTER))
ADD = FuncType((("self", Borrow(COUNTER)), ("n", Primitive.U32)), Primitive.U32)
SOURCE = Path(__file__).parent.parent / "engine" / "components" / "own-resources.wat"


async def _start(operator: Operator, host: Host, folder: Path) -> None:
    wasm = bytes(wat2wasm(SOURCE.read_text()))
    await operator.start_component(host, "counters", image(folder, "counters", wasm), count=2)


async def _add(operator: Operator, counter: Handle, n: int) -> Any:
    call = Call("counters", COUNTERS, "[method]counter.add", (counter, n), ADD, soon(), "test", instance=counter.owner)
    return await operator.invoker.invoke(call)


async def _in_flight(host: Host, count: int) -> None:
    running = host.workloads.component("counters")
    assert running is not None
    async with asyncio.timeout(PATIENCE):
        while running.in_flight != count:
            await asyncio.sleep(0.01)


async def test_a_resource_keeps_its_state_between_calls_and_its_slot_until_dropped(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two") as two,
    ):
        await _start(operator, one, tmp_path)
        await _start(operator, two, tmp_path)
        counter = await operator.call("counters", COUNTERS, "make", MAKE, 5)

        assert isinstance(counter, Handle)
        # Two hosts answer for the component, but only the one that made the counter has it.
        assert [await _add(operator, counter, 1) for _ in range(6)] == [6, 7, 8, 9, 10, 11]
        owner = one if one.workloads.component("counters").in_flight else two  # type: ignore[union-attr]
        await _in_flight(owner, 1)
        operator.invoker.drop(counter)
        await _in_flight(owner, 0)
        with pytest.raises(Unavailable):
            await _add(operator, counter, 1)


async def test_a_handle_of_a_stopped_component_is_unavailable(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await _start(operator, one, tmp_path)
        counter = await operator.call("counters", COUNTERS, "make", MAKE, 5)
    with pytest.raises(Unavailable):
        await _add(operator, counter, 1)


async def test_a_component_that_leaves_answers_for_its_resources_until_they_are_dropped(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await _start(operator, one, tmp_path)
        counter = await operator.call("counters", COUNTERS, "make", MAKE, 5)
        (leaving,) = one.workloads.components

        await operator.scale(one, "counters", leaving.spec.image, count=0)
        await operator.heard("component_scaled", max_instances=0)
        async with asyncio.timeout(PATIENCE):
            while one.workloads.component("counters") is not None:
                await asyncio.sleep(0.01)

        assert [await _add(operator, counter, 1) for _ in range(3)] == [6, 7, 8]
        operator.invoker.drop(counter)
        async with asyncio.timeout(PATIENCE):
            while one.workloads.in_flight:
                await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await _add(operator, counter, 1)
