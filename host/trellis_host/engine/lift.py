"""Component values to Python values: one function per WIT type, compiled once.

`lifter(type)` gives `lift(space, index)`, which reads the component value at word `index`. It copies: nothing that
it returns refers to wasmtime's memory. It frees nothing either, with one exception: an owned resource of the
component is taken out of the value, which then holds `false` in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trellis_host.engine import ffi
from trellis_host.engine.lower import Resources
from trellis_host.engine.space import ComponentResource, Space
from trellis_lattice.wit.types import (
    Borrow,
    Enum,
    Flags,
    ListType,
    Option,
    Own,
    Primitive,
    Record,
    ResourceId,
    Result,
    Tuple,
    Variant,
    WitType,
)
from trellis_lattice.wit.values import Case, Err, Ok, Some

__all__ = ["Lift", "lifter", "owns_memory"]

BYTES, WORDS = ffi.BYTES, ffi.WORDS

Lift = Callable[[Space, int], Any]


def lifter(type: WitType, resources: Resources) -> Lift:
    """The function that reads values of `type`."""
    if isinstance(type, Primitive):
        return _PRIMITIVES[type]
    return _COMPOUND[type.__class__](type, resources)


def owns_memory(type: WitType | None) -> bool:
    """Whether a value of the type refers to memory that must be freed after a call."""
    return type is not None and (not isinstance(type, Primitive) or type is Primitive.STRING)


# ---------------------------------------------------------------------------------------------------------------
# Primitives: (view, its indices per word, index of the payload within a value)

_SCALARS = {
    Primitive.S8: (ffi.INT8, 8),
    Primitive.U8: (ffi.BYTES, 8),
    Primitive.S16: (ffi.INT16, 4),
    Primitive.U16: (ffi.UINT16, 4),
    Primitive.S32: (ffi.INT32, 2),
    Primitive.U32: (ffi.UINT32, 2),
    Primitive.S64: (ffi.INT64, 1),
    Primitive.U64: (ffi.WORDS, 1),
    Primitive.F32: (ffi.FLOATS, 2),
    Primitive.F64: (ffi.DOUBLES, 1),
}


def _scalar(view: Any, per_word: int) -> Lift:
    def lift(space: Space, index: int) -> Any:
        return view[(index + 1) * per_word]

    return lift


def _lift_bool(space: Space, index: int) -> bool:
    return bool(BYTES[8 * index + 8])


def _lift_char(space: Space, index: int) -> str:
    return chr(ffi.UINT32[2 * index + 2])


def _lift_string(space: Space, index: int) -> str:
    address = WORDS[index + 2]
    return str(BYTES[address : address + WORDS[index + 1]], "utf-8")


_PRIMITIVES: dict[Primitive, Lift] = {
    Primitive.BOOL: _lift_bool,
    Primitive.CHAR: _lift_char,
    Primitive.STRING: _lift_string,
    **{primitive: _scalar(*spec) for primitive, spec in _SCALARS.items()},
}

# ---------------------------------------------------------------------------------------------------------------
# Lists


def _list(type: ListType, resources: Resources) -> Lift:
    element = type.element
    if element is Primitive.U8:
        return _lift_bytes
    if isinstance(element, Primitive) and element in _SCALARS:
        return _scalars(*_SCALARS[element])
    lift_element = lifter(element, resources)

    def lift(space: Space, index: int) -> list[Any]:
        first = WORDS[index + 2] >> 3
        return [lift_element(space, at) for at in range(first, first + 4 * WORDS[index + 1], 4)]

    return lift


def _scalars(view: Any, per_word: int) -> Lift:
    step = 4 * per_word

    def lift(space: Space, index: int) -> list[Any]:
        size = WORDS[index + 1]
        first = ((WORDS[index + 2] >> 3) + 1) * per_word
        return view[first : first + step * size : step].tolist() if size else []

    return lift


_FEW = 128
"""Up to here a strided view is faster than a copy of all words."""
_STRIDE = 4096
"""Bytes gathered at one go: their component values fit the second-level cache."""


def _lift_bytes(space: Space, index: int) -> bytes:
    size, address = WORDS[index + 1], WORDS[index + 2]
    if size <= _FEW:
        return BYTES[address + 8 : address + 8 + ffi.VALUE_BYTES * size : ffi.VALUE_BYTES].tobytes()
    parts = []
    for start in range(0, size, _STRIDE):
        count = min(_STRIDE, size - start)
        place = address + start * ffi.VALUE_BYTES
        parts.append(ffi.string_at(place, count * ffi.VALUE_BYTES)[8 :: ffi.VALUE_BYTES])
    return b"".join(parts) if len(parts) > 1 else parts[0]


# ---------------------------------------------------------------------------------------------------------------
# Records, tuples, variants and their kin


def _record(type: Record, resources: Resources) -> Lift:
    fields = [(name, 6 * position + 2, lifter(field, resources)) for position, (name, field) in enumerate(type.fields)]

    def lift(space: Space, index: int) -> dict[str, Any]:
        first = WORDS[index + 2] >> 3
        return {name: lift_field(space, first + offset) for name, offset, lift_field in fields}

    return lift


def _tuple(type: Tuple, resources: Resources) -> Lift:
    items = [(4 * position, lifter(item, resources)) for position, item in enumerate(type.items)]

    def lift(space: Space, index: int) -> tuple[Any, ...]:
        first = WORDS[index + 2] >> 3
        return tuple([lift_item(space, first + offset) for offset, lift_item in items])

    return lift


def _variant(type: Variant, resources: Resources) -> Lift:
    cases = {
        name.encode(): (name, None if payload is None else lifter(payload, resources)) for name, payload in type.cases
    }

    def lift(space: Space, index: int) -> Case:
        address = WORDS[index + 2]
        name, lift_payload = cases[bytes(BYTES[address : address + WORDS[index + 1]])]
        return Case(name, None if lift_payload is None else lift_payload(space, WORDS[index + 3] >> 3))

    return lift


def _enum(type: Enum, resources: Resources) -> Lift:
    names = {name.encode(): name for name in type.names}

    def lift(space: Space, index: int) -> str:
        address = WORDS[index + 2]
        return names[bytes(BYTES[address : address + WORDS[index + 1]])]

    return lift


def _flags(type: Flags, resources: Resources) -> Lift:
    names = {name.encode(): name for name in type.names}

    def lift(space: Space, index: int) -> frozenset[str]:
        first = WORDS[index + 2] >> 3
        return frozenset(
            names[bytes(BYTES[WORDS[at + 1] : WORDS[at + 1] + WORDS[at]])]
            for at in range(first, first + 2 * WORDS[index + 1], 2)
        )

    return lift


def _option(type: Option, resources: Resources) -> Lift:
    lift_some = lifter(type.some, resources)
    nested = isinstance(type.some, Option)

    def lift(space: Space, index: int) -> Any:
        address = WORDS[index + 1]
        if not address:
            return None
        value = lift_some(space, address >> 3)
        return Some(value) if nested else value

    return lift


def _result(type: Result, resources: Resources) -> Lift:
    lift_ok = None if type.ok is None else lifter(type.ok, resources)
    lift_err = None if type.err is None else lifter(type.err, resources)

    def lift(space: Space, index: int) -> Ok[Any] | Err[Any]:
        if BYTES[8 * index + 8]:
            return Ok(None if lift_ok is None else lift_ok(space, WORDS[index + 2] >> 3))
        return Err(None if lift_err is None else lift_err(space, WORDS[index + 2] >> 3))

    return lift


# ---------------------------------------------------------------------------------------------------------------
# Resources


def _own(type: Own, resources: Resources) -> Lift:
    if type.resource not in resources:
        return _component_handle(type.resource)

    def lift(space: Space, index: int) -> Any:
        return space.table.pop(space.rep_of(WORDS[index + 1]))[0]

    return lift


def _borrow(type: Borrow, resources: Resources) -> Lift:
    def lift(space: Space, index: int) -> Any:
        return space.table[space.rep_of(WORDS[index + 1])][0]

    return lift


def _component_handle(resource: ResourceId) -> Lift:
    name = str(resource)

    def lift(space: Space, index: int) -> ComponentResource:
        handle = WORDS[index + 1]
        WORDS[index] = ffi.BOOL
        WORDS[index + 1] = 0
        return space.keep(ComponentResource(space, handle, name))

    return lift


_COMPOUND: Mapping[Any, Callable[[Any, Resources], Lift]] = {
    ListType: _list,
    Record: _record,
    Tuple: _tuple,
    Variant: _variant,
    Enum: _enum,
    Flags: _flags,
    Option: _option,
    Result: _result,
    Own: _own,
    Borrow: _borrow,
}
