"""A fresh sandbox and a typed call (string → string) of a component of a KB; against the same bare C-API loop.

The bare loop makes a store and an instance from the pool, calls with values written by hand, and drops both; it has
no limits, no errors, no deadline. Both run in turns in one process, each with its epoch ticker on.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from ctypes import c_uint8, c_uint64, c_void_p
from typing import Any

from wasmtime import _ffi
from wasmtime.component import Component, Linker

from benchmarks.bare_wasmtime import (
    VALUE,
    Ticker,
    call,
    declare,
    epoch_yields,
    future_delete,
    get_func,
    instantiate,
    poll,
    pooled_engine,
    set_epoch_deadline,
    store_context,
    store_delete,
    store_new,
)
from benchmarks.result import Result, at_most, percentile, reported
from tests.fixtures import components
from trellis_host.engine import Engine, EngineSettings, Export, LinkedComponent

__all__ = ["CallLoop", "measure"]

ROUNDS, CALLS = 20, 300
BOUND = 1.5
INTERFACE, FUNCTION, NAME, ANSWER = "demo:greet/greeter", "greet", "benchmark", "Hello, benchmark!"

_STRING = 12
_val_delete = declare("wasmtime_component_val_delete", None, c_void_p)


class CallLoop:
    """`call()` greets in one fresh sandbox, by the C API alone."""

    def __init__(self, wasm: bytes) -> None:
        self._engine = pooled_engine()
        self._component = Component(self._engine, wasm)
        self._linker = Linker(self._engine)
        self._function = self._component.get_export_index(FUNCTION, self._component.get_export_index(INTERFACE))
        managed: tuple[Any, ...] = (self._engine, self._linker, self._component, self._function)
        self._addresses = [ctypes.cast(one.ptr(), c_void_p).value for one in managed]
        self._ticker = Ticker(self._engine)

    def close(self) -> None:
        """Stops the ticker."""
        self._ticker.close()

    def call(self) -> str:
        """One call, from store to drop."""
        engine, linker, component, export = self._addresses
        store = store_new(engine, None, None)
        context = store_context(store)
        set_epoch_deadline(context, 1)
        epoch_yields(context, 1)
        instance = _ffi.wasmtime_component_instance_t()
        function = _ffi.wasmtime_component_func_t()
        error = c_void_p()
        future = instantiate(linker, context, component, ctypes.addressof(instance), ctypes.addressof(error))
        while not poll(future):
            pass
        future_delete(future)
        get_func(ctypes.addressof(instance), context, export, ctypes.addressof(function))
        name = NAME.encode()
        held = ctypes.create_string_buffer(name)
        values = (c_uint8 * (2 * VALUE))()
        at = ctypes.addressof(values)
        c_uint8.from_address(at).value = _STRING
        c_uint64.from_address(at + 8).value = len(name)
        c_uint64.from_address(at + 16).value = ctypes.addressof(held)
        result = at + VALUE
        future = call(ctypes.addressof(function), context, at, 1, result, 1, ctypes.addressof(error))
        while not poll(future):
            pass
        future_delete(future)
        if error.value:
            raise RuntimeError("the component failed")
        text = ctypes.string_at(c_uint64.from_address(result + 16).value, c_uint64.from_address(result + 8).value)
        answer = text.decode()
        _val_delete(result)
        store_delete(store)
        return answer


async def measure() -> list[Result]:
    """The ratio of the medians, and both medians in microseconds."""
    wasm = components.greeter()
    engine = Engine(EngineSettings())
    floor = CallLoop(wasm)
    try:
        linked = (await engine.load(wasm)).link(lambda wanted, type: None)
        export = linked.export(INTERFACE, FUNCTION)
        if floor.call() != ANSWER or await _call_ours(linked, export) != ANSWER:
            raise RuntimeError("the engine and the bare loop answer differently")
        bare: list[float] = []
        ours: list[float] = []
        for _ in range(ROUNDS):
            for _ in range(CALLS):
                started = time.perf_counter()
                floor.call()
                bare.append(time.perf_counter() - started)
            for _ in range(CALLS):
                started = time.perf_counter()
                await _call_ours(linked, export)
                ours.append(time.perf_counter() - started)
    finally:
        floor.close()
        await engine.aclose()
    fast, slow = percentile(bare, 0.5), percentile(ours, 0.5)
    return [
        at_most("fresh sandbox and typed call", slow / fast, "× bare loop", BOUND),
        reported("fresh sandbox and typed call: ours", slow * 1e6, "µs"),
        reported("fresh sandbox and typed call: bare loop", fast * 1e6, "µs"),
    ]


async def _call_ours(linked: LinkedComponent, export: Export) -> Any:
    deadline = asyncio.get_running_loop().time() + 30
    return await linked.call(export, (NAME,), None, deadline=deadline)
