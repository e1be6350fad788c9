"""Converters between a provider's Python values and the values of `wit.values`. Pure; built once per type.

`…_in` makes what the provider's method gets, `…_out` what leaves it. A value that does not fit raises
`TypeError` saying where and what; the runner turns that into the provider's failure.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from trellis_lattice.errors import RequestInvalid, Unavailable
from trellis_lattice.invocation.api import Handle
from trellis_lattice.wit.types import Primitive
from trellis_lattice.wit.values import Case, Err, Ok, Some

from .wit_types import NamedResource, Resource, VariantCase

__all__ = ["Convert"]

Convert = Callable[[Any], Any]

_INTEGERS: Mapping[Primitive, tuple[int, int]] = {
    Primitive[f"{sign}{bits}"]: (0, 2**bits - 1) if sign == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in "SU"
    for bits in (8, 16, 32, 64)
}


def wrong(where: str, expected: str, got: object) -> NoReturn:
    """Raises the `TypeError` for a value that does not fit."""
    raise TypeError(f"{where}: expected {expected}, got {type(got).__name__} {repr(got)[:80]}")


def primitive(kind: Primitive, where: str) -> Convert:
    """Checks a value without parts."""
    if kind in _INTEGERS:
        return _integer(kind, where)
    if kind in (Primitive.F32, Primitive.F64):
        return _float(kind, where)
    if kind is Primitive.CHAR:
        return _char(where)
    wanted = bool if kind is Primitive.BOOL else str

    def check(value: Any) -> Any:
        if isinstance(value, wanted):
            return value
        wrong(where, kind.value, value)

    return check


def _integer(kind: Primitive, where: str) -> Convert:
    low, high = _INTEGERS[kind]

    def check(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        wrong(where, kind.value, value)

    return check


def _float(kind: Primitive, where: str) -> Convert:
    def check(value: Any) -> float:
        if isinstance(value, float | int) and not isinstance(value, bool):
            return float(value)
        wrong(where, kind.value, value)

    return check


def _char(where: str) -> Convert:
    def check(value: Any) -> Any:
        if isinstance(value, str) and len(value) == 1 and not 0xD800 <= ord(value) <= 0xDFFF:
            return value
        wrong(where, "char", value)

    return check


def octets(where: str) -> Convert:
    """`list<u8>`: any bytes-like, or a sequence of integers."""

    def check(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if isinstance(value, bytearray | memoryview | list | tuple):
            try:
                return bytes(value)
            except (TypeError, ValueError):
                pass
        wrong(where, "list<u8>", value)

    return check


def stream(where: str) -> Convert:
    """A `ByteStream`, checked by what is called on it first."""

    def check(value: Any) -> Any:
        if hasattr(value, "read") and hasattr(value, "aclose"):
            return value
        wrong(where, "a ByteStream", value)

    return check


def member_of(names: Collection[str], where: str) -> Convert:
    """An enum spelled as `Literal`."""
    allowed = frozenset(names)

    def check(value: Any) -> Any:
        if value in allowed:
            return value
        wrong(where, f"one of {', '.join(names)}", value)

    return check


def enum_out(names: Mapping[Any, str], where: str) -> Convert:
    def out(value: Any) -> str:
        if value in names:
            return names[value]
        wrong(where, f"one of {', '.join(names.values())}", value)

    return out


def flags_in(cls: type[enum.Flag], labels: Mapping[Any, str]) -> Convert:
    members = {label: member for member, label in labels.items()}

    def convert(value: Any) -> Any:
        result = cls(0)
        for label in value:
            result |= members[label]
        return result

    return convert


def flags_out(labels: Mapping[Any, str], where: str) -> Convert:
    def out(value: Any) -> frozenset[str]:
        if not isinstance(value, enum.Flag):
            wrong(where, "flags", value)
        return frozenset(label for member, label in labels.items() if member in value)

    return out


def list_in(element: Convert | None) -> Convert | None:
    return None if element is None else (lambda value: [element(item) for item in value])


def list_out(element: Convert, where: str) -> Convert:
    def out(value: Any) -> list[Any]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            wrong(where, "a list", value)
        return [element(item) for item in value]

    return out


def tuple_in(parts: Sequence[Convert | None]) -> Convert | None:
    if not any(parts):
        return None
    return lambda value: tuple(part(item) if part else item for part, item in zip(parts, value, strict=True))


def tuple_out(parts: Sequence[Convert], where: str) -> Convert:
    def out(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list) or len(value) != len(parts):
            wrong(where, f"a tuple of {len(parts)}", value)
        return tuple(part(item) for part, item in zip(parts, value, strict=True))

    return out


def option_in(inner: Convert | None) -> Convert | None:
    return None if inner is None else option_out(inner)


def option_out(inner: Convert) -> Convert:
    return lambda value: None if value is None else inner(value)


def some_in(inner: Convert | None, nested: bool) -> Convert:
    def convert(value: Any) -> Any:
        if value is None:
            return None
        payload = value.value if nested else value
        return Some(inner(payload) if inner else payload)

    return convert


def some_out(inner: Convert, nested: bool, where: str) -> Convert:
    def out(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, Some):
            wrong(where, "Some(…) or None", value)
        payload = inner(value.value)
        return Some(payload) if nested else payload

    return out


def result_in(ok: Convert | None, err: Convert | None) -> Convert | None:
    if ok is None and err is None:
        return None

    def convert(value: Any) -> Any:
        side = ok if isinstance(value, Ok) else err
        return type(value)(side(value.value)) if side else value

    return convert


def result_out(ok: Convert | None, err: Convert | None, where: str) -> Convert:
    sides: Mapping[type, Convert | None] = {Ok: ok, Err: err}

    def out(value: Any) -> Any:
        kind = type(value)
        if kind not in sides:
            wrong(where, "Ok(…) or Err(…)", value)
        side = sides[kind]
        if side is not None:
            return kind(side(value.value))
        if value.value is not None:
            wrong(where, f"{kind.__name__}() without a value", value.value)
        return value

    return out


def record_in(cls: type[Any], fields: Sequence[tuple[str, str, Convert | None]]) -> Convert:
    def convert(value: Any) -> Any:
        return cls(**{python: part(value[name]) if part else value[name] for python, name, part in fields})

    return convert


def record_out(cls: type[Any], fields: Sequence[tuple[str, str, Convert]], where: str) -> Convert:
    def out(value: Any) -> dict[str, Any]:
        if not isinstance(value, cls):
            wrong(where, cls.__name__, value)
        return {name: part(getattr(value, python)) for python, name, part in fields}

    return out


def variant_in(cases: Mapping[str, tuple[Callable[..., Any], Convert | None, object | None]]) -> Convert:
    """`cases`: name → class, payload converter, and something true if there is a payload at all."""

    def convert(value: Case) -> Any:
        make, part, has_payload = cases[value.name]
        if has_payload is None:
            return make()
        return make(part(value.value) if part else value.value)

    return convert


def variant_out(cases: Mapping[type[VariantCase], tuple[str, Convert | None]], where: str) -> Convert:
    def out(value: Any) -> Case:
        found = cases.get(type(value))
        if found is None:
            wrong(where, " or ".join(cls.__name__ for cls in cases), value)
        name, part = found
        return Case(name, part(value.value)) if part else Case(name)

    return out


def named_in(cls: type[NamedResource], type: str) -> Convert:
    def convert(value: Any) -> NamedResource:
        if not isinstance(value, Handle) or value.type != type:
            got = value.type if isinstance(value, Handle) else value.__class__.__name__
            raise RequestInvalid(f"Expected a handle of {type}, got {got}.")
        return cls(value.id)

    return convert


def named_out(cls: type[NamedResource], type: str, where: str) -> Convert:
    def out(value: Any) -> Handle:
        if not isinstance(value, cls):
            wrong(where, cls.__name__, value)
        return Handle("", value.name, type)

    return out


def resource_in(cls: type[Resource], type: str) -> Convert:
    def convert(value: Any) -> Resource:
        if isinstance(value, cls):
            return value
        if isinstance(value, Handle):
            raise Unavailable(
                f"The resource {type} {value.id} does not live here.", remedy="Make it again.", reason="owner-gone"
            )
        raise RequestInvalid(f"Expected a resource {type}, got {value.__class__.__name__}.")

    return convert


def resource_out(cls: type[Resource], made: Callable[[Resource], None], where: str) -> Convert:
    def out(value: Any) -> Resource:
        if isinstance(value, cls):
            made(value)
            return value
        wrong(where, cls.__name__, value)

    return out
