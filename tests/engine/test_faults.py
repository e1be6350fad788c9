"""A component that misbehaves harms only its own call."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest
import wasmtime

from trellis_host.engine import Engine, Limits
from trellis_lattice.errors import DeadlineExceeded, InvocationFailed

from .host_calls import Context, host_calls
from .support import soon


@pytest.mark.parametrize(
    ("function", "args", "trap", "frame"),
    [
        ("trap", [], "wasm `unreachable` instruction executed", "m!"),
        ("recurse", [], "call stack exhausted", "m!rec"),
        ("out-of-bounds", [], "out of bounds memory access", "m!"),
        ("divide", [0], "integer divide by zero", "m!"),
    ],
)
async def test_a_trap_harms_only_its_call(
    engine: Engine, function: str, args: list[int], trap: str, frame: str
) -> None:
    component = await host_calls(engine)
    neighbour_context = Context(gate=asyncio.Event())
    neighbour = asyncio.ensure_future(
        component.call(component.export("", "wait"), [1], neighbour_context, deadline=soon())
    )
    await neighbour_context.entered.wait()
    for _ in range(20):
        with pytest.raises(InvocationFailed) as failed:
            await component.call(component.export("", function), args, Context(), deadline=soon())
        fields = failed.value.fields
        assert fields["trap"] == trap
        assert fields["component"] == "under-test"
        assert fields["function"] == function
        assert fields["backtrace"][0].startswith(frame)
        assert trap in failed.value.message
    assert neighbour_context.gate is not None
    neighbour_context.gate.set()
    assert await neighbour == 2
    assert engine.stats().in_flight == 0


async def test_memory_beyond_the_limit_is_refused_to_the_component(engine: Engine) -> None:
    component = await host_calls(engine)
    grow = component.export("", "grow")
    limits = Limits(memory_bytes=4 * 65536)
    assert await component.call(grow, [3], Context(), limits, deadline=soon()) == 1
    assert await component.call(grow, [4], Context(), limits, deadline=soon()) == -1
    assert await component.call(grow, [4], Context(), deadline=soon()) == 1


async def test_a_component_that_starts_with_more_than_its_limit_fails(engine: Engine) -> None:
    component = await host_calls(engine)
    with pytest.raises(InvocationFailed, match="memory"):
        await component.call(component.export("", "count"), [], Context(), Limits(memory_bytes=1000), deadline=soon())
    assert engine.stats().in_flight == 0


async def test_a_trapped_sandbox_is_closed(engine: Engine) -> None:
    component = await host_calls(engine)
    context = Context()
    sandbox = await component.sandbox(context, deadline=soon())
    assert await sandbox.call(component.export("", "thing"), [4, 1], soon()) == 4
    with pytest.raises(InvocationFailed):
        await sandbox.call(component.export("", "trap"), [], soon())
    assert sandbox.closed
    assert len(context.dropped) == 1


async def test_a_sandbox_out_of_time_is_closed(engine: Engine) -> None:
    component = await host_calls(engine)
    sandbox = await component.sandbox(Context(), deadline=soon())
    with pytest.raises(DeadlineExceeded):
        await sandbox.call(component.export("", "spin"), [], soon(0.01))
    assert sandbox.closed


async def test_an_endless_start_function_is_bounded_by_the_deadline(engine: Engine) -> None:
    text = """(component
      (core module $m (func $spin (loop $l (br $l))) (start $spin) (func (export "f")))
      (core instance $i (instantiate $m))
      (func (export "f") (canon lift (core func $i "f"))))"""
    component = (await engine.load(bytes(wasmtime.wat2wasm(text)))).link(lambda wanted, type: None)
    with pytest.raises(DeadlineExceeded):
        await component.call(component.export("", "f"), [], None, deadline=soon(0.02))
    with pytest.raises(DeadlineExceeded):
        await component.sandbox(None, deadline=soon(0.02))
    assert engine.stats().in_flight == 0


async def test_a_trap_at_instantiation_is_told(engine: Engine) -> None:
    text = """(component
      (core module $m (func $no (unreachable)) (start $no) (func (export "f")))
      (core instance $i (instantiate $m))
      (func (export "f") (canon lift (core func $i "f"))))"""
    component = (await engine.load(bytes(wasmtime.wat2wasm(text)))).link(lambda wanted, type: None)
    with pytest.raises(InvocationFailed, match="unreachable"):
        await component.call(component.export("", "f"), [], None, deadline=soon())
    with pytest.raises(InvocationFailed, match="unreachable"):
        await component.sandbox(None, deadline=soon())
    assert engine.stats().in_flight == 0


async def test_a_host_function_that_recurses_ends_its_call_not_the_process(engine: Engine) -> None:
    """It runs on the fiber's stack, which is smaller than a thread's."""

    def deeper(value: int) -> int:
        return max([value], key=lambda one: deeper(one + 1))

    component = await host_calls(engine, look=lambda context, thing: deeper(0))
    with pytest.raises(RecursionError):
        await component.call(component.export("", "thing"), [1, 0], Context(), deadline=soon())


def test_a_process_that_ends_without_closing_its_engine_ends_quietly() -> None:
    script = textwrap.dedent("""
        import asyncio, sys, wasmtime
        from trellis_host.engine import Engine
        async def main():
            global engine, linked, sandbox
            engine = Engine()
            linked = (await engine.load(wasmtime.wat2wasm(sys.argv[1]))).link(lambda wanted, type: None)
            sandbox = await linked.sandbox(None, deadline=asyncio.get_running_loop().time() + 20)
        asyncio.run(main())
    """)
    ended = subprocess.run(
        [sys.executable, "-c", script, _PEEK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


_CHILD = """
    import asyncio, faulthandler, sys
    {before}
    from trellis_host.engine import Engine, EngineSettings
    from trellis_lattice.errors import InvocationFailed
    import wasmtime

    async def main():
        engine = Engine(EngineSettings(max_in_flight=4))
        assert faulthandler.is_enabled()
        component = (await engine.load(wasmtime.wat2wasm(sys.argv[1]))).link(lambda name, type: None)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            try:
                await component.call(component.export("", "peek"), [], None, deadline=loop.time() + 20)
            except InvocationFailed as failed:
                assert failed.fields["trap"] == "out of bounds memory access"
            else:
                raise AssertionError("no trap")
        await engine.aclose()
        print("alive")

    asyncio.run(main())
"""
_PEEK = """(component
  (core module $m (memory 1) (func (export "peek") (result i32) (i32.load (i32.const 0x7ffffff0))))
  (core instance $i (instantiate $m))
  (func (export "peek") (result u32) (canon lift (core func $i "peek"))))"""


@pytest.mark.parametrize("before", ["", "faulthandler.enable()", "sys.stderr = None"])
def test_out_of_bounds_is_survived_in_a_process_of_its_own(before: str) -> None:
    """The engine enables faulthandler before wasmtime's handler; enabled later, it would kill the process."""
    script = textwrap.dedent(_CHILD).format(before=before)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", script, _PEEK], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "alive"
