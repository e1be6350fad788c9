"""Many calls on one event loop: waiting, cancelled, out of time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trellis_host.engine import Engine, EngineSettings, waiting
from trellis_lattice.errors import Conflict, DeadlineExceeded, InvocationFailed, Overloaded, Unavailable

from .host_calls import Context, host_calls
from .support import soon


async def test_two_thousand_calls_in_flight(engine: Engine) -> None:
    gate = asyncio.Event()
    component = await host_calls(engine)
    export = component.export("", "wait")
    contexts = [Context(gate=gate) for _ in range(2000)]
    calls = [
        asyncio.ensure_future(component.call(export, [number], context, deadline=soon(60)))
        for number, context in enumerate(contexts)
    ]
    for context in contexts:
        await context.entered.wait()
    assert engine.stats().in_flight == 2000
    gate.set()
    assert await asyncio.gather(*calls) == list(range(1, 2001))
    assert engine.stats().in_flight == 0


async def test_start_runs_to_the_first_suspension(engine: Engine) -> None:
    component = await host_calls(engine)
    finished = component.start(component.export("", "count"), [], Context(), deadline=soon())
    while not finished.done:  # an epoch may end in between
        await finished.result()
    assert await finished.result() == 1
    assert await finished.result() == 1

    context = Context(gate=asyncio.Event())
    waits = component.start(component.export("", "wait"), [1], context, deadline=soon())
    assert not waits.done
    waits.close()
    waits.close()
    assert waits.done
    with pytest.raises(InvocationFailed, match="closed before its end"):
        await waits.result()


async def test_a_value_at_once_needs_no_task(engine: Engine) -> None:
    component = await host_calls(engine)
    tasks = len(asyncio.all_tasks())
    seen: list[int] = []

    def now(context: Context, ms: int) -> int:
        seen.append(len(asyncio.all_tasks()))
        return ms * 2

    component = await host_calls(engine, now=waiting(now))
    assert await component.call(component.export("", "now"), [21], Context(), deadline=soon()) == 42
    assert seen == [tasks]


async def test_a_host_function_may_give_a_future(engine: Engine) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    component = await host_calls(engine, wait=waiting(lambda context, ms: future))
    call = asyncio.ensure_future(component.call(component.export("", "wait"), [0], Context(), deadline=soon()))
    await asyncio.sleep(0)
    future.set_result(77)
    assert await call == 77


async def test_each_call_gets_a_fresh_sandbox(engine: Engine) -> None:
    component = await host_calls(engine)
    export = component.export("", "count")
    for _ in range(3):
        assert await component.call(export, [], Context(), deadline=soon()) == 1


async def test_a_kept_sandbox_remembers(engine: Engine) -> None:
    component = await host_calls(engine)
    sandbox = await component.sandbox(Context(), deadline=soon())
    for expected in (1, 2, 3):
        assert await sandbox.call(component.export("", "count"), [], soon()) == expected
    assert await sandbox.call(component.export("", "wait"), [5], soon()) == 6
    sandbox.close()
    sandbox.close()
    with pytest.raises(Unavailable, match="sandbox is closed"):
        await sandbox.call(component.export("", "count"), [], soon())


async def test_a_kept_sandbox_takes_one_call_at_a_time(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context(gate=asyncio.Event())
    sandbox = await component.sandbox(context, deadline=soon())
    first = asyncio.ensure_future(sandbox.call(component.export("", "wait"), [1], soon()))
    await context.entered.wait()
    with pytest.raises(Conflict, match="one call at a time"):
        await sandbox.call(component.export("", "count"), [], soon())
    sandbox.close()
    with pytest.raises(InvocationFailed):
        await first


async def test_cancelling_the_caller_cancels_the_component_and_its_host_function(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context(gate=asyncio.Event())
    call = asyncio.ensure_future(component.call(component.export("", "wait"), [1], context, deadline=soon()))
    await context.entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert engine.stats().in_flight == 0
    while not context.cancelled:
        await asyncio.sleep(0)


async def test_the_deadline_ends_a_waiting_call(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context(gate=asyncio.Event())
    with pytest.raises(DeadlineExceeded):
        await component.call(component.export("", "wait"), [1], context, deadline=soon(0.02))
    assert engine.stats().in_flight == 0
    while not context.cancelled:
        await asyncio.sleep(0)


async def test_the_deadline_ends_a_call_whose_host_function_is_done_by_then(engine: Engine) -> None:
    # A component that always finds its host functions done, as one whose body is read, would go on for ever.
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    component = await host_calls(engine, wait=waiting(lambda context, ms: future))
    running = component.start(component.export("", "wait"), [0], Context(), deadline=soon(0))
    future.set_result(1)
    with pytest.raises(DeadlineExceeded):
        await running.result()
    assert engine.stats().in_flight == 0


@pytest.mark.parametrize("function", ["spin", "wait-then-spin"])
async def test_the_deadline_ends_an_endless_loop_while_others_run(engine: Engine, function: str) -> None:
    component = await host_calls(engine)
    args = [1] if function == "wait-then-spin" else []
    spinning = [
        asyncio.ensure_future(component.call(component.export("", function), args, Context(), deadline=soon(0.3)))
        for _ in range(5)
    ]
    served = 0
    while not all(call.done() for call in spinning):
        assert await component.call(component.export("", "wait"), [1], Context(), deadline=soon()) == 2
        served += 1
    assert served > 0
    for call in spinning:
        assert isinstance(call.exception(), DeadlineExceeded)


async def test_an_endless_loop_gives_way_to_the_event_loop_at_every_epoch(engine: Engine) -> None:
    component = await host_calls(engine)
    running = component.start(component.export("", "spin"), [], Context(), deadline=soon())
    call = asyncio.ensure_future(running.result())
    turns = 0
    while turns < 20:
        await asyncio.sleep(0)
        turns += 1
        assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_long_computation_ends_with_its_value(engine: Engine) -> None:
    component = await host_calls(engine)
    answer = await component.call(component.export("", "count-to"), [30_000_000], Context(), deadline=soon())
    assert answer == 30_000_000


async def test_a_full_pool_is_overloaded_and_recovers() -> None:
    small = Engine(EngineSettings(max_in_flight=3))
    component = await host_calls(small)
    export = component.export("", "wait")
    gate = asyncio.Event()
    contexts = [Context(gate=gate) for _ in range(3)]
    calls = [asyncio.ensure_future(component.call(export, [1], context, deadline=soon())) for context in contexts]
    for context in contexts:
        await context.entered.wait()
    with pytest.raises(Overloaded) as refused:
        component.start(export, [1], Context(), deadline=soon())
    assert refused.value.retry_after > 0
    assert small.stats().in_flight == 3
    gate.set()
    assert await asyncio.gather(*calls) == [2, 2, 2]
    assert await component.call(export, [1], Context(), deadline=soon()) == 2
    await small.aclose()


async def test_the_ticker_parks_when_nothing_runs_and_wakes_for_a_poll() -> None:
    own = Engine(EngineSettings(max_in_flight=2))
    component = await host_calls(own)
    for _ in range(2):
        assert await component.call(component.export("", "count"), [], Context(), deadline=soon()) == 1
        while own.stats().ticking is False:
            await asyncio.sleep(0.001)
        while own.stats().ticking:
            await asyncio.sleep(0.01)
        with pytest.raises(DeadlineExceeded):
            await component.call(component.export("", "spin"), [], Context(), deadline=soon(0.02))
        while own.stats().ticking:
            await asyncio.sleep(0.01)
    await own.aclose()
    assert not own.ticker.alive


async def test_closing_the_engine_ends_what_runs() -> None:
    own = Engine(EngineSettings(max_in_flight=2))
    component = await host_calls(own)
    context = Context(gate=asyncio.Event())
    call = asyncio.ensure_future(component.call(component.export("", "wait"), [1], context, deadline=soon()))
    await context.entered.wait()
    await own.aclose()
    await own.aclose()
    with pytest.raises(InvocationFailed):
        await call
    assert context.cancelled == 1
    with pytest.raises(Unavailable, match="engine is closed"):
        await component.call(component.export("", "count"), [], Context(), deadline=soon())
    with pytest.raises(Unavailable, match="engine is closed"):
        await own.load(b"")


async def test_a_context_variable_of_the_caller_reaches_host_functions(engine: Engine) -> None:
    import contextvars

    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")

    async def wait(context: Context, ms: int) -> int:
        context.seen.append(trace.get())
        return ms

    component = await host_calls(engine, wait=waiting(wait))
    trace.set("abc")
    context: Any = Context()
    await component.call(component.export("", "wait"), [1], context, deadline=soon())
    assert context.seen == ["abc"]


async def test_a_host_function_may_run_another_component_on_the_spot(engine: Engine) -> None:
    inner = await host_calls(engine)
    export = inner.export("", "thing")

    def look(context: Context, thing: Any) -> int:
        running = inner.start(export, [thing.number + 1, 0], context, deadline=soon())
        results.append(running)
        return thing.number

    results: list[Any] = []
    outer = await host_calls(engine, look=look)
    assert await outer.call(outer.export("", "thing"), [1, 0], Context(), deadline=soon()) == 1
    assert await results[0].result() == 2


@pytest.mark.parametrize("what", ["running", "sandbox"])
async def test_a_host_function_that_closes_its_own_sandbox(engine: Engine, what: str) -> None:
    calls: list[Any] = []

    def look(context: Context, thing: Any) -> int:
        sandbox = calls[0]
        (sandbox._busy if what == "running" else sandbox).close()
        assert not sandbox.closed
        return 1

    component = await host_calls(engine, look=look)
    sandbox = await component.sandbox(Context(), deadline=soon())
    calls.append(sandbox)
    with pytest.raises(InvocationFailed, match="closed by a host function"):
        await sandbox.call(component.export("", "thing"), [1, 0], soon())
    assert sandbox.closed
