"""Slots: bounded concurrency with a bounded, fair queue."""

from __future__ import annotations

import asyncio

import pytest

from trellis_host.runtime.slots import Slots
from trellis_lattice.errors import Overloaded


def _soon() -> float:
    return asyncio.get_running_loop().time() + 10


async def _queued(slots: Slots, count: int) -> None:
    while slots.waiting < count:
        await asyncio.sleep(0)


async def test_takes_no_more_than_its_size() -> None:
    slots = Slots("c", 2)

    assert [slots.try_acquire() for _ in range(3)] == [True, True, False]
    assert slots.in_flight == 2


async def test_a_freed_slot_goes_to_the_oldest_waiter() -> None:
    slots, order = Slots("c", 1), []
    slots.try_acquire()

    async def wait(name: str) -> None:
        await slots.acquire(_soon())
        order.append(name)
        slots.release()

    async with asyncio.TaskGroup() as tasks:
        for number, name in enumerate("abc", start=1):
            tasks.create_task(wait(name))
            await _queued(slots, number)
        slots.release()

    assert order == ["a", "b", "c"]
    assert slots.in_flight == 0


async def test_nobody_overtakes_a_waiter() -> None:
    slots = Slots("c", 1)
    slots.try_acquire()
    waiter = asyncio.create_task(slots.acquire(_soon()))
    await _queued(slots, 1)

    slots.release()

    assert not slots.try_acquire()
    await waiter


async def test_a_full_queue_refuses_at_once() -> None:
    slots = Slots("c", 0, queue=0)

    with pytest.raises(Overloaded) as refused:
        await slots.acquire(_soon())

    assert refused.value.fields["component"] == "c"
    assert refused.value.retry_after > 0


@pytest.mark.parametrize("patience", [0.0, 1e-9])
async def test_patience_ends(patience: float) -> None:
    slots = Slots("c", 1, patience=patience)
    slots.try_acquire()

    with pytest.raises(Overloaded):
        await slots.acquire(_soon())

    assert slots.waiting == 0
    slots.release()
    assert slots.try_acquire()


async def test_a_cancelled_waiter_loses_no_slot() -> None:
    slots = Slots("c", 1)
    slots.try_acquire()
    waiter = asyncio.create_task(slots.acquire(_soon()))
    await _queued(slots, 1)
    slots.release()  # handed to the waiter, which is cancelled before it can notice
    waiter.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiter

    assert slots.try_acquire()


async def test_growing_lets_waiters_in() -> None:
    slots = Slots("c", 0)
    waiters = [asyncio.create_task(slots.acquire(_soon())) for _ in range(3)]
    await _queued(slots, 3)

    slots.resize(2)
    await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    slots.release()
    await asyncio.gather(*waiters)

    assert slots.in_flight == 2


async def test_idle_waits_for_the_last_one() -> None:
    slots = Slots("c", 2)
    slots.try_acquire()
    slots.try_acquire()
    idle = asyncio.create_task(slots.idle())
    await asyncio.sleep(0)

    slots.release()
    await asyncio.sleep(0)
    assert not idle.done()
    slots.release()
    await idle
