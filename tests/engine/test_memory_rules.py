"""The rules under which Python and wasmtime share memory (host/trellis_host/engine/ffi.py)."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import Any

import pytest

from trellis_host.engine import Engine, Limits, waiting
from trellis_host.engine.imports import SANDBOXES
from trellis_lattice.errors import InvocationFailed, PeerMisbehaved

from .host_calls import Context, HostSaysNo, Thing, host_calls
from .support import soon


async def test_a_resource_reaches_a_host_function_as_the_object_that_made_it(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context()
    assert await component.call(component.export("", "thing"), [7, 1], context, deadline=soon()) == 7
    assert context.seen == [Thing(7)]
    assert context.dropped == context.seen
    assert context.dropped[0] is context.seen[0]


async def test_a_dropped_handle_runs_drop_at_once_and_only_once(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context()
    await component.call(component.export("", "thing"), [3, 0], context, deadline=soon())
    assert context.dropped == [Thing(3)]


async def test_a_handle_given_to_the_host_is_the_host_s(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context()
    assert await component.call(component.export("", "thing"), [3, 2], context, deadline=soon()) == 300
    assert context.dropped == []


async def test_what_is_left_at_the_end_is_dropped_youngest_first(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context()
    await component.call(component.export("", "hoard"), [50], context, deadline=soon())
    assert [thing.number for thing in context.dropped] == list(range(1, 51))


async def test_the_limit_of_resources_ends_the_invocation(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context()
    with pytest.raises(InvocationFailed, match="its limit") as failed:
        await component.call(component.export("", "hoard"), [11], context, Limits(resources=10), deadline=soon())
    assert failed.value.fields["trap"] == "resource limit"
    assert len(context.dropped) == 10


async def test_borrows_are_resolved_before_a_waiting_function_returns(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context()
    assert await component.call(component.export("", "thing-later"), [9], context, deadline=soon()) == 9
    assert context.seen == [Thing(9)]
    assert context.dropped == [Thing(9)]


async def test_arguments_of_a_waiting_function_survive_its_callback(engine: Engine) -> None:
    seen: list[int] = []

    async def wait(context: Context, ms: int) -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        seen.append(ms)
        return ms

    component = await host_calls(engine, wait=waiting(wait))
    export = component.export("", "wait")
    answers = await asyncio.gather(
        *(component.call(export, [number], Context(), deadline=soon()) for number in range(500))
    )
    assert answers == list(range(500))
    assert sorted(seen) == list(range(500))


async def test_a_host_task_that_swallows_cancellation_is_harmless(engine: Engine) -> None:
    finished = 0
    release = asyncio.Event()

    async def stubborn(context: Context, ms: int) -> int:
        nonlocal finished
        context.entered.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        finished += 1
        return 12345

    component = await host_calls(engine, wait=waiting(stubborn))
    export = component.export("", "wait")
    for number in range(1000):
        context = Context()
        running = component.start(export, [number], context, deadline=soon())
        task = asyncio.ensure_future(running.result())
        await context.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert engine.stats().in_flight == 0
    # New sandboxes reuse the memory of the old ones while the old answers arrive.
    release.set()
    plain = component.export("", "count")
    while finished < 1000:
        assert await component.call(plain, [], Context(), deadline=soon()) == 1
        await asyncio.sleep(0)
    while engine.stats().tasks:
        await asyncio.sleep(0)


async def test_an_answer_of_the_wrong_type_ends_the_call_and_names_the_function(engine: Engine) -> None:
    async def wait(context: Context, ms: int) -> Any:
        await asyncio.sleep(0)
        return "many"

    component = await host_calls(engine, wait=waiting(wait), now=waiting(lambda context, ms: -1))
    with pytest.raises(PeerMisbehaved, match=r"test:host/calls@0.1.0.wait .* result: expected u32, got 'many'"):
        await component.call(component.export("", "wait"), [1], Context(), deadline=soon())
    with pytest.raises(PeerMisbehaved, match=r"calls@0.1.0.now .* result: expected u32 \(0 to 4294967295\), got -1"):
        await component.call(component.export("", "now"), [1], Context(), deadline=soon())


async def test_an_exception_of_a_host_function_is_raised_by_its_own_call(engine: Engine) -> None:
    async def wait(context: Context, ms: int) -> int:
        await asyncio.sleep(0)
        if ms % 3 == 0:
            raise HostSaysNo(ms)
        return ms

    component = await host_calls(engine, wait=waiting(wait))
    export = component.export("", "wait")
    answers = await asyncio.gather(
        *(component.call(export, [number], Context(), deadline=soon()) for number in range(300)),
        return_exceptions=True,
    )
    for number, answer in enumerate(answers):
        if number % 3 == 0:
            assert isinstance(answer, HostSaysNo)
            assert answer.args == (number,)
        else:
            assert answer == number
    with pytest.raises(HostSaysNo):
        await component.call(component.export("", "boom"), [], Context(), deadline=soon())


async def test_a_host_task_that_cancels_itself_ends_the_call_not_the_caller(engine: Engine) -> None:
    async def wait(context: Context, ms: int) -> int:
        raise asyncio.CancelledError

    component = await host_calls(engine, wait=waiting(wait))
    with pytest.raises(InvocationFailed, match="was cancelled before it answered"):
        await component.call(component.export("", "wait"), [1], Context(), deadline=soon())


@pytest.mark.parametrize("function", ["now", "look", "make"])
async def test_no_exception_leaves_a_callback_whatever_it_is(engine: Engine, function: str) -> None:
    class Strange(BaseException):
        pass

    def strange(context: Context, *args: Any) -> Any:
        raise Strange(function)

    wrapped = {function: waiting(strange) if function == "now" else strange}
    component = await host_calls(engine, **wrapped)
    export = component.export("", "now" if function == "now" else "thing")
    with pytest.raises(Strange):
        await component.call(export, [1] if function == "now" else [1, 0], Context(), deadline=soon())
    assert engine.stats().in_flight == 0


async def test_a_failing_drop_at_the_end_does_not_hide_the_answer(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    class Fragile(Context):
        @property
        def dropped(self) -> list[Thing]:  # type: ignore[override]
            raise HostSaysNo

        @dropped.setter
        def dropped(self, value: list[Thing]) -> None:
            pass

    component = await host_calls(engine)
    assert await component.call(component.export("", "thing"), [7, 1], Fragile(), deadline=soon()) == 7
    assert "drop of host resource thing failed" in caplog.text


async def test_memory_stays_flat_over_many_calls(engine: Engine) -> None:
    component = await host_calls(engine)
    thing, later = component.export("", "thing-later"), component.export("", "wait")

    async def many(count: int) -> int:
        for number in range(count):
            await component.call(thing, [number], Context(), deadline=soon())
            await component.call(later, [number], Context(), deadline=soon())
        gc.collect()
        return resident_pages()

    await many(500)
    before = await many(1000)
    after = await many(3000)
    assert after - before < 512  # two megabytes; one leaked kilobyte per call would be six
    assert not [sandbox for sandbox in SANDBOXES.values() if sandbox.linked is component]


def resident_pages() -> int:
    return int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1])
