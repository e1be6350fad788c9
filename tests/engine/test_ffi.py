"""What the engine assumes about wasmtime's private bindings, so that a new version fails here and not in memory."""

from __future__ import annotations

import ctypes

import pytest
import wasmtime
from wasmtime import _ffi

from trellis_host.engine import ffi, space
from trellis_host.engine.lower import lowerer
from trellis_lattice.wit.types import Primitive


def test_the_version_is_the_one_these_assumptions_were_tested_with() -> None:
    assert ffi.WASMTIME_VERSION.split(".")[0] == "50"


def test_sizes_of_what_is_written_by_hand() -> None:
    assert ctypes.sizeof(_ffi.wasmtime_component_val_t) == ffi.VALUE_BYTES
    assert ctypes.sizeof(_ffi.wasmtime_component_valrecord_entry_t) == ffi.ENTRY_BYTES
    assert ctypes.sizeof(_ffi.wasm_name_t) == 16
    assert ctypes.sizeof(_ffi.wasmtime_component_instance_t) <= 8 * (space.FUNC - space.INSTANCE)
    assert ctypes.sizeof(_ffi.wasmtime_component_func_t) <= 8 * (space.RESULT - space.FUNC)
    assert ctypes.sizeof(_ffi.wasmtime_async_continuation_t) == 24


def test_places_of_payloads() -> None:
    value = _ffi.wasmtime_component_val_t
    union = _ffi.wasmtime_component_valunion_t
    assert (value.kind.offset, value.of.offset) == (0, 8)
    for name in ("boolean", "u8", "u64", "f32", "f64", "character", "string", "list", "record", "option", "resource"):
        assert getattr(union, name).offset == 0
    assert (_ffi.wasmtime_component_vallist_t.size.offset, _ffi.wasmtime_component_vallist_t.data.offset) == (0, 8)
    variant = _ffi.wasmtime_component_valvariant_t
    assert (variant.discriminant.offset, variant.val.offset) == (0, 16)
    result = _ffi.wasmtime_component_valresult_t
    assert (result.is_ok.offset, result.val.offset) == (0, 8)
    entry = _ffi.wasmtime_component_valrecord_entry_t
    assert (entry.name.offset, entry.val.offset) == (0, 16)
    continuation = _ffi.wasmtime_async_continuation_t
    assert (continuation.callback.offset, continuation.env.offset, continuation.finalizer.offset) == (0, 8, 16)


_KINDS = """BOOL S8 U8 S16 U16 S32 U32 S64 U64 F32 F64 CHAR STRING
    LIST RECORD TUPLE VARIANT ENUM OPTION RESULT FLAGS RESOURCE"""


@pytest.mark.parametrize("name", _KINDS.split())
def test_kinds(name: str) -> None:
    assert getattr(ffi, name) == getattr(_ffi, f"WASMTIME_COMPONENT_{name}").value


@pytest.mark.parametrize(
    ("type", "value", "field"),
    [
        (Primitive.BOOL, True, "boolean"),
        (Primitive.S8, -1, "s8"),
        (Primitive.U16, 65535, "u16"),
        (Primitive.S32, -(1 << 31), "s32"),
        (Primitive.S64, -(1 << 63), "s64"),
        (Primitive.U64, (1 << 64) - 1, "u64"),
        (Primitive.F32, -1.5, "f32"),
        (Primitive.F64, 1e300, "f64"),
    ],
)
def test_scalars_are_where_wasmtime_reads_them(type: Primitive, value: object, field: str) -> None:
    held = _ffi.wasmtime_component_val_t()
    place = space.Space(None, 1)
    lowerer(type, {})(place, ctypes.addressof(held) >> 3, value)
    place.release_memory()
    assert held.kind == getattr(_ffi, f"WASMTIME_COMPONENT_{type.name}").value
    assert getattr(held.of, field) == value


def test_the_ready_continuation_says_done() -> None:
    ready = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(ffi.READY_CALLBACK)
    assert ready(ffi.READY_ENV) is True


def test_an_error_gives_its_text_once() -> None:
    assert ffi.take_error(ffi.new_error("why\0not\ud800")) == "why?not?"


def test_the_views_reach_any_buffer() -> None:
    held = ffi.buffer(24)
    address = ffi.address_of(held)
    ffi.WORDS[address >> 3] = 0x1122334455667788
    assert bytes(ffi.BYTES[address : address + 8]) == bytes.fromhex("8877665544332211")
    assert ffi.UINT32[(address >> 2) + 1] == 0x11223344


def test_memory_beyond_a_slab_is_separate_and_given_back() -> None:
    place = space.Space(None, 1)
    mark = place.mark()
    small, large = place.take(64), place.take(1 << 16)
    assert not small <= large < small + 64
    place.rewind(mark)
    assert place.take(64) == small
    place.rewind_all()
    place.release_memory()
    place.release_memory()
    assert space.Space(None, 1).take(64) == small


def test_no_other_file_touches_the_private_bindings() -> None:
    from pathlib import Path

    engine = Path(ffi.__file__).parent
    users = {
        path.name
        for path in engine.parent.rglob("*.py")
        if "_ffi" in path.read_text() or "_bindings" in path.read_text()
    }
    assert users == {"ffi.py"}
    assert wasmtime.__name__ == "wasmtime"
