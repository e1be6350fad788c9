"""The one file that touches wasmtime's private bindings: raw prototypes, memory, settings of the allocator.

Why not wasmtime's own component classes for calls: they are synchronous and re-read all types at every call.
The C library in the same wheel has asynchronous twins; here they get prototypes that take and give plain
integers, which is several times cheaper than typed ctypes pointers.

Memory is read and written through views over the whole address space, indexed in words of 8 bytes:
`WORDS[address >> 3]`. A component value is 4 words: kind, then up to three words of payload. A wrong index is a
segmentation fault, so only `lift`, `lower`, `imports` and `running` use the views, with addresses wasmtime gave or
`Arena` made.

Functions that only do bookkeeping keep the GIL (`PyDLL`: half the cost); those that run a component or compile
release it (`CDLL`), so that the epoch ticker runs meanwhile. A callback never lets an exception out.

The names bound here change with wasmtime's monthly major versions: pyproject pins one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_bool, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from importlib.metadata import version
from typing import Any

import wasmtime
from wasmtime import _ffi
from wasmtime.component import Component as WasmtimeComponent
from wasmtime.component import Linker as WasmtimeLinker
from wasmtime.component import ResourceType

__all__ = [
    "BYTES",
    "DOUBLES",
    "FLOATS",
    "WORDS",
    "AsyncCallback",
    "Destructor",
    "PollCallback",
    "SyncCallback",
    "WasmtimeComponent",
    "WasmtimeLinker",
    "add_func",
    "add_func_async",
    "add_resource",
    "address_of",
    "pointer",
    "take_error",
]

WASMTIME_VERSION: str = version("wasmtime")

# ---------------------------------------------------------------------------------------------------------------
# Memory

_SPACE = memoryview((c_uint8 * ((1 << 48) - 4096)).from_address(0)).cast("B")
BYTES = _SPACE
INT8 = _SPACE.cast("b")
UINT16 = _SPACE.cast("H")
INT16 = _SPACE.cast("h")
UINT32 = _SPACE.cast("I")
INT32 = _SPACE.cast("i")
WORDS = _SPACE.cast("Q")
INT64 = _SPACE.cast("q")
FLOATS = _SPACE.cast("f")
DOUBLES = _SPACE.cast("d")

string_at = ctypes.string_at

# Kinds of a component value: word 0 of its 4 words.
BOOL, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, CHAR, STRING = range(13)
LIST, RECORD, TUPLE, VARIANT, ENUM, OPTION, RESULT, FLAGS, RESOURCE = range(13, 22)

VALUE_BYTES = 32
"""Size of one component value."""
ENTRY_BYTES = 48
"""Size of one field of a record: its name (length, address), then its value."""


def address_of(buffer: Any) -> int:
    """Address of a ctypes object."""
    return ctypes.addressof(buffer)


def buffer(size: int) -> Any:
    """A zeroed ctypes buffer of `size` bytes; whoever uses its address keeps the object."""
    return (c_uint64 * ((size + 7) >> 3))()


_names: dict[str, tuple[int, int, Any]] = {}


def name_constant(text: str) -> tuple[int, int]:
    """(length, address) of a name in memory that is never freed; for names of types only, which are few."""
    known = _names.get(text)
    if known is None:
        raw = text.encode()
        held = ctypes.create_string_buffer(raw, len(raw) + 1)
        known = _names[text] = (len(raw), ctypes.addressof(held), held)
    return known[0], known[1]


# ---------------------------------------------------------------------------------------------------------------
# Prototypes

_quick = ctypes.PyDLL(_ffi.dll._name)
_long = ctypes.CDLL(_ffi.dll._name)


def _bind(library: Any, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = list(arguments)
    return function  # type: ignore[no-any-return]


_P = c_void_p

engine_increment_epoch = _bind(_quick, "wasmtime_engine_increment_epoch", None, _P)

store_new = _bind(_quick, "wasmtime_store_new", _P, _P, _P, _P)
store_context = _bind(_quick, "wasmtime_store_context", _P, _P)
store_limiter = _bind(_quick, "wasmtime_store_limiter", None, _P, c_int64, c_int64, c_int64, c_int64, c_int64)
store_delete = _bind(_quick, "wasmtime_store_delete", None, _P)
set_epoch_deadline = _bind(_quick, "wasmtime_context_set_epoch_deadline", None, _P, c_uint64)
epoch_yields = _bind(_quick, "wasmtime_context_epoch_deadline_async_yield_and_update", _P, _P, c_uint64)

instantiate_async = _bind(_quick, "wasmtime_component_linker_instantiate_async", _P, _P, _P, _P, _P, _P)
instance_get_func = _bind(_quick, "wasmtime_component_instance_get_func", c_bool, _P, _P, _P, _P)
func_call_async = _bind(_quick, "wasmtime_component_func_call_async", _P, _P, _P, _P, c_size_t, _P, c_size_t, _P)
future_poll = _bind(_long, "wasmtime_call_future_poll", c_bool, _P)
future_delete = _bind(_quick, "wasmtime_call_future_delete", None, _P)

val_new = _bind(_quick, "wasmtime_component_val_new", _P, _P)
val_clone = _bind(_quick, "wasmtime_component_val_clone", None, _P, _P)
val_delete = _bind(_quick, "wasmtime_component_val_delete", None, _P)
byte_vec_new = _bind(_quick, "wasm_byte_vec_new", None, _P, c_size_t, _P)
byte_vec_delete = _bind(_quick, "wasm_byte_vec_delete", None, _P)

host_new = _bind(_quick, "wasmtime_component_resource_host_new", _P, c_bool, c_uint32, c_uint32)
host_rep = _bind(_quick, "wasmtime_component_resource_host_rep", c_uint32, _P)
host_delete = _bind(_quick, "wasmtime_component_resource_host_delete", None, _P)
host_to_any = _bind(_quick, "wasmtime_component_resource_host_to_any", _P, _P, _P, _P)
any_to_host = _bind(_quick, "wasmtime_component_resource_any_to_host", _P, _P, _P, _P)
any_delete = _bind(_quick, "wasmtime_component_resource_any_delete", None, _P)

_error_new = _bind(_quick, "wasmtime_error_new", _P, ctypes.c_char_p)
_error_message = _bind(_quick, "wasmtime_error_message", None, _P, _P)
_error_delete = _bind(_quick, "wasmtime_error_delete", None, _P)

SyncCallback = ctypes.CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t)
"""(data, context, type, args, nargs, results, nresults) -> error or 0."""
AsyncCallback = ctypes.CFUNCTYPE(
    None, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t
)
"""(data, context, type, args, nargs, results, nresults, error_out, continuation)."""
PollCallback = ctypes.CFUNCTYPE(c_bool, c_size_t)
"""(env) -> whether the host function has its result in place."""
Destructor = ctypes.CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_uint32)
"""(data, context, rep) -> error or 0."""

_add_func = _bind(
    _quick, "wasmtime_component_linker_instance_add_func", _P, _P, ctypes.c_char_p, c_size_t, SyncCallback, _P, _P
)
_add_func_async = _bind(
    _quick,
    "wasmtime_component_linker_instance_add_func_async",
    _P,
    _P,
    ctypes.c_char_p,
    c_size_t,
    AsyncCallback,
    _P,
    _P,
)
_add_resource = _bind(
    _quick,
    "wasmtime_component_linker_instance_add_resource",
    _P,
    _P,
    ctypes.c_char_p,
    c_size_t,
    _P,
    Destructor,
    _P,
    _P,
)

# A C function that gives back its argument: as the callback of a continuation, with 1 as its environment, it says
# "done" without entering Python. So a waiting host function that has its value at once costs no second callback.
READY_CALLBACK: int = ctypes.cast(ctypes.CDLL(None).labs, c_void_p).value or 0
READY_ENV = 1


def callback_address(callback: Any) -> int:
    """Address of the C entry of a ctypes callback."""
    return ctypes.cast(callback, c_void_p).value or 0


def pointer(managed: Any) -> int:
    """Address behind one of wasmtime's Python objects, which must outlive its use."""
    return ctypes.cast(managed.ptr(), c_void_p).value or 0


# ---------------------------------------------------------------------------------------------------------------
# Errors


def new_error(text: str) -> int:
    """A wasmtime error for a callback to give back; wasmtime frees it."""
    return int(_error_new(text.encode(errors="replace").replace(b"\0", b"?")) or 0)


def take_error(error: int) -> str:
    """The text of a wasmtime error (message, wasm backtrace, causes); frees it."""
    vec = (c_size_t * 2)()
    _error_message(error, vec)
    text = ctypes.string_at(vec[1], vec[0]).decode(errors="replace") if vec[0] else ""
    byte_vec_delete(vec)
    _error_delete(error)
    return text


def _check(error: int | None) -> None:
    if error:
        raise wasmtime.WasmtimeError(take_error(error))


# ---------------------------------------------------------------------------------------------------------------
# Linker


def add_func(instance: int, name: str, callback: Any, data: int) -> None:
    """Defines a function that returns at once. The callback must never be collected."""
    raw = name.encode()
    _check(_add_func(instance, raw, len(raw), callback, data, None))


def add_func_async(instance: int, name: str, callback: Any, data: int) -> None:
    """Defines a function during which the component may be suspended."""
    raw = name.encode()
    _check(_add_func_async(instance, raw, len(raw), callback, data, None))


def add_resource(instance: int, name: str, number: int, destructor: Any, data: int) -> None:
    """Defines a resource type of the host; `number` is its identity within the linker."""
    raw = name.encode()
    kind = ResourceType.host(number)
    _check(_add_resource(instance, raw, len(raw), pointer(kind), destructor, data, None))


# ---------------------------------------------------------------------------------------------------------------
# Settings


def base_config(*, memory_reservation: int, max_wasm_stack: int, async_stack: int) -> wasmtime.Config:
    """Settings shared by all engines of a host: compiled code depends on them, the allocator is set apart."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    handle = config.ptr()
    _ffi.wasmtime_config_concurrency_support_set(handle, False)
    _ffi.wasmtime_config_wasm_component_model_async_set(handle, False)
    _ffi.wasmtime_config_memory_reservation_set(handle, memory_reservation)
    _ffi.wasmtime_config_max_wasm_stack_set(handle, max_wasm_stack)
    _ffi.wasmtime_config_async_stack_size_set(handle, async_stack)
    return config


def use_pool(config: wasmtime.Config, sizes: dict[str, int]) -> None:
    """Makes `config` allocate from a pool. `sizes`: the C API's names of the pool's settings to their values."""
    pool = _ffi.wasmtime_pooling_allocation_config_new()
    try:
        for name, value in sizes.items():
            getattr(_ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
        _ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    finally:
        _ffi.wasmtime_pooling_allocation_config_delete(pool)
