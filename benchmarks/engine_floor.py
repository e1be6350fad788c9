"""A fresh sandbox and a typed call (string → string) of a component of a KB; against the same bare C-API loop.

The bare loop makes a store and an instance from the pool, calls with values written by hand, and drops both; it has
no limits, no errors, no deadline. Both run in turns in one process, each with its epoch ticker on.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from ctypes import c_bool, c_size_t, c_uint8, c_uint64, c_void_p
from typing import Any

from wasmtime import Config, _ffi
from wasmtime import Engine as WasmtimeEngine
from wasmtime.component import Component, Linker

from benchmarks.result import Result, at_most, percentile, reported
from tests.fixtures import components
from trellis_host.engine import Engine, EngineSettings, Export, LinkedComponent

__all__ = ["CallLoop", "measure"]

ROUNDS, CALLS = 20, 300
BOUND = 1.5
INTERFACE, FUNCTION, NAME, ANSWER = "demo:greet/greeter", "greet", "benchmark", "Hello, benchmark!"

_STRING, _VALUE = 12, 32
_P = c_void_p
_POOL = {
    "total_component_instances": 100,
    "total_core_instances": 2000,
    "total_memories": 400,
    "total_tables": 4000,
    "total_stacks": 100,
    "max_unused_warm_slots": 100,
    "linear_memory_keep_resident": 1 << 20,
    "async_stack_keep_resident": 1 << 16,
    "table_keep_resident": 1 << 16,
    "max_memory_size": 1 << 28,
}


def _c(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(ctypes.CDLL(_ffi.dll._name), name)
    function.restype = result
    function.argtypes = list(arguments)
    return function


_store_new = _c("wasmtime_store_new", _P, _P, _P, _P)
_store_context = _c("wasmtime_store_context", _P, _P)
_store_delete = _c("wasmtime_store_delete", None, _P)
_set_epoch_deadline = _c("wasmtime_context_set_epoch_deadline", None, _P, c_uint64)
_epoch_yields = _c("wasmtime_context_epoch_deadline_async_yield_and_update", _P, _P, c_uint64)
_instantiate = _c("wasmtime_component_linker_instantiate_async", _P, _P, _P, _P, _P, _P)
_get_func = _c("wasmtime_component_instance_get_func", c_bool, _P, _P, _P, _P)
_call = _c("wasmtime_component_func_call_async", _P, _P, _P, _P, c_size_t, _P, c_size_t, _P)
_poll = _c("wasmtime_call_future_poll", c_bool, _P)
_future_delete = _c("wasmtime_call_future_delete", None, _P)
_val_delete = _c("wasmtime_component_val_delete", None, _P)


class CallLoop:
    """`call()` greets in one fresh sandbox, by the C API alone."""

    def __init__(self, wasm: bytes) -> None:
        self._engine = _pooled_engine()
        self._component = Component(self._engine, wasm)
        self._linker = Linker(self._engine)
        self._function = self._component.get_export_index(FUNCTION, self._component.get_export_index(INTERFACE))
        managed: tuple[Any, ...] = (self._engine, self._linker, self._component, self._function)
        self._addresses = [ctypes.cast(one.ptr(), _P).value for one in managed]
        self._running = True
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def close(self) -> None:
        """Stops the ticker."""
        self._running = False
        self._ticker.join()

    def call(self) -> str:
        """One call, from store to drop."""
        engine, linker, component, export = self._addresses
        store = _store_new(engine, None, None)
        context = _store_context(store)
        _set_epoch_deadline(context, 1)
        _epoch_yields(context, 1)
        instance = _ffi.wasmtime_component_instance_t()
        function = _ffi.wasmtime_component_func_t()
        error = c_void_p()
        future = _instantiate(linker, context, component, ctypes.addressof(instance), ctypes.addressof(error))
        while not _poll(future):
            pass
        _future_delete(future)
        _get_func(ctypes.addressof(instance), context, export, ctypes.addressof(function))
        name = NAME.encode()
        held = ctypes.create_string_buffer(name)
        values = (c_uint8 * (2 * _VALUE))()
        at = ctypes.addressof(values)
        c_uint8.from_address(at).value = _STRING
        c_uint64.from_address(at + 8).value = len(name)
        c_uint64.from_address(at + 16).value = ctypes.addressof(held)
        result = at + _VALUE
        future = _call(ctypes.addressof(function), context, at, 1, result, 1, ctypes.addressof(error))
        while not _poll(future):
            pass
        _future_delete(future)
        if error.value:
            raise RuntimeError("the component failed")
        text = ctypes.string_at(c_uint64.from_address(result + 16).value, c_uint64.from_address(result + 8).value)
        answer = text.decode()
        _val_delete(result)
        _store_delete(store)
        return answer

    def _tick(self) -> None:
        while self._running:
            time.sleep(0.002)
            self._engine.increment_epoch()


def _pooled_engine() -> WasmtimeEngine:
    config = Config()
    config.epoch_interruption = True
    _ffi.wasmtime_config_concurrency_support_set(config.ptr(), False)
    _ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    pool = _ffi.wasmtime_pooling_allocation_config_new()
    for name, value in _POOL.items():
        getattr(_ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    _ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    return WasmtimeEngine(config)


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
