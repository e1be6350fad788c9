"""Python values to component values: one function per WIT type, compiled once.

`lowerer(type)` gives `lower(space, index, value)`, which writes `value` into the component value at word `index`
and takes what else it needs from the space.

Wrong values raise `ValueMismatch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from trellis_host.engine import ffi
from trellis_host.engine.api import HostResource
from trellis_host.engine.mismatch import Note, ValueMismatch
from trellis_host.engine.scalars import PRIMITIVES, Lower, lower_bytes
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

__all__ = ["BoundResource", "Resources", "lower_arguments", "lowerer"]

WORDS = ffi.WORDS


class BoundResource(NamedTuple):
    """A resource of the host as one linker knows it."""

    resource: HostResource
    number: int


Resources = Mapping[ResourceId, BoundResource]
"""The host's resources; what is not in it is defined by the component."""


def lowerer(type: WitType, resources: Resources) -> Lower:
    """The function that writes values of `type` into a space's memory."""
    if isinstance(type, Primitive):
        return PRIMITIVES[type]
    return _COMPOUND[type.__class__](type, resources)


# ---------------------------------------------------------------------------------------------------------------
# Lists


def _list(type: ListType, resources: Resources) -> Lower:
    if type.element is Primitive.U8:
        return lower_bytes
    lower_element = lowerer(type.element, resources)
    expected = "list"

    def lower(space: Space, index: int, value: Any) -> None:
        if not isinstance(value, list | tuple):
            raise ValueMismatch(expected, value)
        size = len(value)
        address = space.take(ffi.VALUE_BYTES * size)
        at = address >> 3
        try:
            for element in value:
                lower_element(space, at, element)
                at += 4
        except ValueMismatch as mismatch:
            raise mismatch.under(f"[{(at - (address >> 3)) // 4}]") from None
        WORDS[index] = ffi.LIST
        WORDS[index + 1] = size
        WORDS[index + 2] = address

    return lower


# ---------------------------------------------------------------------------------------------------------------
# Records, tuples, variants and their kin


def _record(type: Record, resources: Resources) -> Lower:
    fields = [(name, *ffi.name_constant(name), lowerer(field, resources)) for name, field in type.fields]
    count = len(fields)
    known = {name for name, _ in type.fields}

    def lower(space: Space, index: int, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ValueMismatch("record as dict", value)
        if len(value) != count or value.keys() != known:
            raise _wrong_fields(known, value)
        address = space.take(ffi.ENTRY_BYTES * count)
        at = address >> 3
        name = ""
        try:
            for name, size, place, lower_field in fields:
                WORDS[at] = size
                WORDS[at + 1] = place
                lower_field(space, at + 2, value[name])
                at += 6
        except ValueMismatch as mismatch:
            raise mismatch.under(f".{name}") from None
        WORDS[index] = ffi.RECORD
        WORDS[index + 1] = count
        WORDS[index + 2] = address

    return lower


def _wrong_fields(known: set[str], value: Mapping[Any, Any]) -> ValueMismatch:
    missing = sorted(known - set(value))
    unknown = sorted(str(key) for key in value if key not in known)
    parts = [f"{word} {', '.join(names)}" for word, names in (("without", missing), ("with unknown", unknown)) if names]
    return ValueMismatch(f"record of {', '.join(sorted(known))}", Note(f"got one {' and '.join(parts)}"))


def _tuple(type: Tuple, resources: Resources) -> Lower:
    items = [lowerer(item, resources) for item in type.items]
    count = len(items)

    def lower(space: Space, index: int, value: Any) -> None:
        if not isinstance(value, tuple | list) or len(value) != count:
            raise ValueMismatch(f"tuple of {count}", value)
        address = space.take(ffi.VALUE_BYTES * count)
        at = address >> 3
        position = 0
        try:
            for position, lower_item in enumerate(items):
                lower_item(space, at, value[position])
                at += 4
        except ValueMismatch as mismatch:
            raise mismatch.under(f".{position}") from None
        WORDS[index] = ffi.TUPLE
        WORDS[index + 1] = count
        WORDS[index + 2] = address

    return lower


def _variant(type: Variant, resources: Resources) -> Lower:
    cases = {
        name: (*ffi.name_constant(name), None if payload is None else lowerer(payload, resources))
        for name, payload in type.cases
    }
    expected = f"variant {' | '.join(cases)}" if len(cases) <= 8 else f"variant of {len(cases)} cases"

    def lower(space: Space, index: int, value: Any) -> None:
        if not isinstance(value, Case):
            raise ValueMismatch(f"{expected} as Case", value)
        case = cases.get(value.name)
        if case is None:
            raise ValueMismatch(expected, value)
        size, place, lower_payload = case
        address = 0
        if lower_payload is not None:
            address = space.take(ffi.VALUE_BYTES)
            try:
                lower_payload(space, address >> 3, value.value)
            except ValueMismatch as mismatch:
                raise mismatch.under(f".{value.name}") from None
        elif value.value is not None:
            raise ValueMismatch(f"no payload for case {value.name}", value.value)
        WORDS[index] = ffi.VARIANT
        WORDS[index + 1] = size
        WORDS[index + 2] = place
        WORDS[index + 3] = address

    return lower


def _enum(type: Enum, resources: Resources) -> Lower:
    names = {name: ffi.name_constant(name) for name in type.names}
    expected = f"enum {' | '.join(names)}" if len(names) <= 8 else f"enum of {len(names)} names"

    def lower(space: Space, index: int, value: Any) -> None:
        place = names.get(value) if isinstance(value, str) else None
        if place is None:
            raise ValueMismatch(expected, value)
        WORDS[index] = ffi.ENUM
        WORDS[index + 1], WORDS[index + 2] = place

    return lower


def _flags(type: Flags, resources: Resources) -> Lower:
    names = {name: ffi.name_constant(name) for name in type.names}

    def lower(space: Space, index: int, value: Any) -> None:
        if not isinstance(value, AbstractSet):
            raise ValueMismatch("flags as frozenset", value)
        if not value <= names.keys():
            raise ValueMismatch(f"flags of {', '.join(names)}", value)
        address = space.take(16 * len(value))
        at = address >> 3
        for name in value:
            WORDS[at], WORDS[at + 1] = names[name]
            at += 2
        WORDS[index] = ffi.FLAGS
        WORDS[index + 1] = len(value)
        WORDS[index + 2] = address

    return lower


def _option(type: Option, resources: Resources) -> Lower:
    lower_some = lowerer(type.some, resources)
    nested = isinstance(type.some, Option)

    def lower(space: Space, index: int, value: Any) -> None:
        address = 0
        if value is not None:
            if nested:
                if not isinstance(value, Some):
                    raise ValueMismatch("None or Some(value)", value)
                value = value.value
            address = space.take(ffi.VALUE_BYTES)
            lower_some(space, address >> 3, value)
        WORDS[index] = ffi.OPTION
        WORDS[index + 1] = address

    return lower


def _result(type: Result, resources: Resources) -> Lower:
    lower_ok = None if type.ok is None else lowerer(type.ok, resources)
    lower_err = None if type.err is None else lowerer(type.err, resources)

    def lower(space: Space, index: int, value: Any) -> None:
        good = isinstance(value, Ok)
        if not good and not isinstance(value, Err):
            raise ValueMismatch("Ok(value) or Err(value)", value)
        lower_payload = lower_ok if good else lower_err
        address = 0
        if lower_payload is not None:
            address = space.take(ffi.VALUE_BYTES)
            try:
                lower_payload(space, address >> 3, value.value)
            except ValueMismatch as mismatch:
                raise mismatch.under(".ok" if good else ".err") from None
        elif value.value is not None:
            raise ValueMismatch(f"{'Ok' if good else 'Err'}() without value", value)
        WORDS[index] = ffi.RESULT
        WORDS[index + 1] = good
        WORDS[index + 2] = address

    return lower


# ---------------------------------------------------------------------------------------------------------------
# Resources


def _own(type: Own, resources: Resources) -> Lower:
    bound = resources.get(type.resource)
    if bound is None:
        return _component_handle(type.resource, consume=True)
    resource, number = bound

    def lower(space: Space, index: int, value: Any) -> None:
        handle = space.new_handle(value, resource, number)
        space.anys.append(handle)
        WORDS[index] = ffi.RESOURCE
        WORDS[index + 1] = handle

    return lower


def _borrow(type: Borrow, resources: Resources) -> Lower:
    bound = resources.get(type.resource)
    if bound is None:
        return _component_handle(type.resource, consume=False)
    resource, number = bound

    def lower(space: Space, index: int, value: Any) -> None:
        handle = space.new_handle(value, resource, number)
        space.lent.append(handle)
        WORDS[index] = ffi.RESOURCE
        WORDS[index + 1] = handle

    return lower


def _component_handle(resource: ResourceId, consume: bool) -> Lower:
    expected = f"a {resource} of this sandbox"

    def lower(space: Space, index: int, value: Any) -> None:
        if not isinstance(value, ComponentResource) or value.space is not space or not value.address:
            raise ValueMismatch(expected, value)
        if value.name != str(resource):
            raise ValueMismatch(expected, value)
        WORDS[index] = ffi.RESOURCE
        WORDS[index + 1] = value.address
        if consume:
            space.consumed.append(value)

    return lower


_COMPOUND: Mapping[Any, Callable[[Any, Resources], Lower]] = {
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


def lower_arguments(lowers: Sequence[Lower], space: Space, address: int, args: Sequence[Any]) -> None:
    """Writes the arguments of a call from `address` on. Raises `ValueMismatch` with the argument's place."""
    index = address >> 3
    position = 0
    try:
        for position, lower in enumerate(lowers):
            lower(space, index, args[position])
            index += 4
    except ValueMismatch as mismatch:
        raise mismatch.under(f".{position}") from None
