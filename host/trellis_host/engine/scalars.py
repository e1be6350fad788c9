"""Python values without parts, and bytes, to component values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trellis_host.engine import ffi
from trellis_host.engine.mismatch import Note, ValueMismatch
from trellis_host.engine.space import Space
from trellis_lattice.wit.types import Primitive

__all__ = ["MAX_BYTE_VALUES", "PRIMITIVES", "Lower", "lower_bytes"]

MAX_BYTE_VALUES = 2 * 1024 * 1024
"""Most elements of list<u8> in one value: each costs 32 bytes and the event loop waits meanwhile."""

Lower = Callable[[Space, int, Any], None]
"""Writes a value into the component value at a word's index."""

BYTES, WORDS, INT64, FLOATS, DOUBLES = ffi.BYTES, ffi.WORDS, ffi.INT64, ffi.FLOATS, ffi.DOUBLES


def _integer(name: str, kind: int, low: int, high: int) -> Lower:
    def lower(space: Space, index: int, value: Any) -> None:
        if value.__class__ is not int and (value.__class__ is bool or not isinstance(value, int)):
            raise ValueMismatch(name, value)
        if not low <= value <= high:
            raise ValueMismatch(f"{name} ({low} to {high})", value)
        WORDS[index] = kind
        INT64[index + 1] = value

    def lower_unsigned(space: Space, index: int, value: Any) -> None:
        if value.__class__ is not int and (value.__class__ is bool or not isinstance(value, int)):
            raise ValueMismatch(name, value)
        if not 0 <= value <= high:
            raise ValueMismatch(f"{name} (0 to {high})", value)
        WORDS[index] = kind
        WORDS[index + 1] = value

    return lower if low else lower_unsigned


def _lower_bool(space: Space, index: int, value: Any) -> None:
    if value.__class__ is not bool:
        raise ValueMismatch("bool", value)
    WORDS[index] = ffi.BOOL
    WORDS[index + 1] = value


def _lower_f32(space: Space, index: int, value: Any) -> None:
    if value.__class__ is not float and (value.__class__ is bool or not isinstance(value, int | float)):
        raise ValueMismatch("f32", value)
    WORDS[index] = ffi.F32
    FLOATS[2 * index + 2] = _as_float(value, "f32")


def _lower_f64(space: Space, index: int, value: Any) -> None:
    if value.__class__ is not float and (value.__class__ is bool or not isinstance(value, int | float)):
        raise ValueMismatch("f64", value)
    WORDS[index] = ffi.F64
    DOUBLES[index + 1] = _as_float(value, "f64")


def _as_float(value: Any, name: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueMismatch(name, value) from None


def _lower_char(space: Space, index: int, value: Any) -> None:
    if not isinstance(value, str) or len(value) != 1:
        raise ValueMismatch("char (text of one character)", value)
    code = ord(value)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueMismatch("char (no surrogate)", value)
    WORDS[index] = ffi.CHAR
    WORDS[index + 1] = code


def _lower_string(space: Space, index: int, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueMismatch("string", value)
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise ValueMismatch("string (no lone surrogates)", value) from None
    size = len(raw)
    address = space.take((size + 15) & ~7)
    BYTES[address : address + size] = raw
    WORDS[index] = ffi.STRING
    WORDS[index + 1] = size
    WORDS[index + 2] = address


_INTEGERS = {
    Primitive.S8: ("s8", ffi.S8, -(1 << 7), (1 << 7) - 1),
    Primitive.U8: ("u8", ffi.U8, 0, (1 << 8) - 1),
    Primitive.S16: ("s16", ffi.S16, -(1 << 15), (1 << 15) - 1),
    Primitive.U16: ("u16", ffi.U16, 0, (1 << 16) - 1),
    Primitive.S32: ("s32", ffi.S32, -(1 << 31), (1 << 31) - 1),
    Primitive.U32: ("u32", ffi.U32, 0, (1 << 32) - 1),
    Primitive.S64: ("s64", ffi.S64, -(1 << 63), (1 << 63) - 1),
    Primitive.U64: ("u64", ffi.U64, 0, (1 << 64) - 1),
}

PRIMITIVES: dict[Primitive, Lower] = {
    Primitive.BOOL: _lower_bool,
    Primitive.F32: _lower_f32,
    Primitive.F64: _lower_f64,
    Primitive.CHAR: _lower_char,
    Primitive.STRING: _lower_string,
    **{primitive: _integer(*spec) for primitive, spec in _INTEGERS.items()},
}

_ONE_BYTE = bytes([ffi.U8, *([0] * (ffi.VALUE_BYTES - 1))])
_STRIDE = 4096
"""Bytes spread at one go: their component values fit the second-level cache."""
_SPREAD = _ONE_BYTE * _STRIDE


def lower_bytes(space: Space, index: int, value: Any) -> None:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise ValueMismatch("list<u8> as bytes", value)
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    space.byte_values += size
    if space.byte_values > MAX_BYTE_VALUES:
        raise ValueMismatch(
            f"at most {MAX_BYTE_VALUES} bytes of list<u8> in one value", Note(f"got {space.byte_values} bytes")
        )
    address = space.take(ffi.VALUE_BYTES * size)
    at = address
    for start in range(0, size, _STRIDE):
        part = value[start : start + _STRIDE]
        spread = bytearray(_SPREAD if len(part) == _STRIDE else _ONE_BYTE * len(part))
        spread[8 :: ffi.VALUE_BYTES] = part
        BYTES[at : at + len(spread)] = spread
        at += len(spread)
    WORDS[index] = ffi.LIST
    WORDS[index + 1] = size
    WORDS[index + 2] = address
