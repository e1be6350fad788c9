"""What the bare loops use of wasmtime: its C API, an engine with a pool, and the ticker that every engine needs."""

from __future__ import annotations

import ctypes
import threading
import time
from ctypes import c_bool, c_size_t, c_uint64, c_void_p
from typing import Any

from wasmtime import Config, Engine, _ffi

__all__ = [
    "VALUE",
    "Ticker",
    "call",
    "declare",
    "epoch_yields",
    "future_delete",
    "get_func",
    "instantiate",
    "poll",
    "pooled_engine",
    "set_epoch_deadline",
    "store_context",
    "store_delete",
    "store_new",
]

VALUE = 32
"""Bytes of a component value."""
_TICK = 0.002
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
_P = c_void_p
_library = ctypes.CDLL(_ffi.dll._name)


def declare(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the C API; each name may be declared once, as the declarations are the library's."""
    function = getattr(_library, name)
    function.restype = result
    function.argtypes = list(arguments)
    return function


store_new = declare("wasmtime_store_new", _P, _P, _P, _P)
store_context = declare("wasmtime_store_context", _P, _P)
store_delete = declare("wasmtime_store_delete", None, _P)
set_epoch_deadline = declare("wasmtime_context_set_epoch_deadline", None, _P, c_uint64)
epoch_yields = declare("wasmtime_context_epoch_deadline_async_yield_and_update", _P, _P, c_uint64)
instantiate = declare("wasmtime_component_linker_instantiate_async", _P, _P, _P, _P, _P, _P)
get_func = declare("wasmtime_component_instance_get_func", c_bool, _P, _P, _P, _P)
call = declare("wasmtime_component_func_call_async", _P, _P, _P, _P, c_size_t, _P, c_size_t, _P)
poll = declare("wasmtime_call_future_poll", c_bool, _P)
future_delete = declare("wasmtime_call_future_delete", None, _P)


def pooled_engine() -> Engine:
    """Instances from a pool, calls that yield at epochs: what the engine of a host has, too."""
    config = Config()
    config.epoch_interruption = True
    _ffi.wasmtime_config_concurrency_support_set(config.ptr(), False)
    _ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    pool = _ffi.wasmtime_pooling_allocation_config_new()
    for name, value in _POOL.items():
        getattr(_ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    _ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    return Engine(config)


class Ticker:
    """Counts the epochs of an engine until it is closed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running = True
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._running = False
        self._thread.join()

    def _tick(self) -> None:
        while self._running:
            time.sleep(_TICK)
            self._engine.increment_epoch()
