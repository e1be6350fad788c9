"""What a host does when it is asked for too much."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fixtures import components
from tests.host.support import PATIENCE, Operator, image, running_host, soon
from trellis_lattice.errors import Overloaded, TrellisError
from trellis_lattice.invocation.api import Call
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Provider, provides, u64

WAIT = FuncType((("ms", Primitive.U64),), Primitive.U64)


@provides("test:waiter/provider@0.1.0")
class Gate(Provider):
    """Lets nobody through until it is opened."""

    opened: asyncio.Event
    entered = 0

    async def wait(self, ms: u64) -> u64:
        type(self).entered += 1
        await self.opened.wait()
        return ms


async def test_more_calls_than_slots_wait_and_then_are_refused(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    Gate.opened, Gate.entered = asyncio.Event(), 0
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Gate) as one:
        await operator.put_link("waiter", "gate", "test:waiter", "provider")
        await operator.start_provider(one, "gate", "gate")
        await operator.start_component(one, "waiter", image(tmp_path, "waiter", components.waiter()), count=2)

        def call(deadline: float) -> asyncio.Task[object]:
            made = Call("waiter", "test:waiter/waiter@0.1.0", "run", (1,), WAIT, deadline, "test")
            return asyncio.create_task(operator.invoker.invoke(made))

        first = [call(soon()) for _ in range(2)]
        async with asyncio.timeout(PATIENCE):
            while Gate.entered < 2:
                await asyncio.sleep(0.01)
        with pytest.raises((Overloaded, TrellisError)) as refused:
            await call(soon(1.0))
        Gate.opened.set()

        assert refused.value.code in ("overloaded", "deadline-exceeded")
        assert await asyncio.gather(*first) == [1, 1]


async def test_stopping_waits_for_what_is_in_flight(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    Gate.opened, Gate.entered = asyncio.Event(), 0
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Gate) as one:
        await operator.put_link("waiter", "gate", "test:waiter", "provider")
        await operator.start_provider(one, "gate", "gate")
        await operator.start_component(one, "waiter", image(tmp_path, "waiter", components.waiter()))
        call = asyncio.create_task(operator.call("waiter", "test:waiter/waiter@0.1.0", "run", WAIT, 5))
        async with asyncio.timeout(PATIENCE):
            while Gate.entered < 1:
                await asyncio.sleep(0.01)
        one.request_stop()
        await asyncio.sleep(0)
        Gate.opened.set()

        assert await call == 5
