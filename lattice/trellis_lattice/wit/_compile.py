"""Compiles a WIT type into two closures: Python value to CBOR-ready object, and back.

Every type has one function below that returns its `Forms`. A closure takes the value and the `Pass` of the
top-level value it belongs to. On a wrong value it raises `Mismatch`; the containers it passes through put
their part in front of its path, which therefore costs nothing while values are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cbor2 import CBORTag

from trellis_lattice.invocation.api import Handle
from trellis_lattice.wit._mismatch import Mismatch, Pass
from trellis_lattice.wit.render import type_text
from trellis_lattice.wit.types import (
    Borrow,
    Enum,
    Flags,
    ListType,
    Option,
    Own,
    Primitive,
    Record,
    Result,
    Stream,
    Tuple,
    Variant,
    WitType,
)
from trellis_lattice.wit.values import Case, Err, Ok, Some

__all__ = ["F32_MAX", "HANDLE_TAG", "INTEGERS", "Forms", "compile_type"]

HANDLE_TAG = 27
"""CBOR tag of a handle: "serialised object with type name and constructor arguments" (IANA registry)."""

F32_MAX = 3.4028234663852886e38

INTEGERS: Mapping[Primitive, tuple[int, int]] = {
    Primitive.S8: (-(1 << 7), (1 << 7) - 1),
    Primitive.U8: (0, (1 << 8) - 1),
    Primitive.S16: (-(1 << 15), (1 << 15) - 1),
    Primitive.U16: (0, (1 << 16) - 1),
    Primitive.S32: (-(1 << 31), (1 << 31) - 1),
    Primitive.U32: (0, (1 << 32) - 1),
    Primitive.S64: (-(1 << 63), (1 << 63) - 1),
    Primitive.U64: (0, (1 << 64) - 1),
}


Closure = Callable[[Any, Pass], Any]


class Forms(NamedTuple):
    encode: Closure
    decode: Closure
    identical: bool = False
    """Both closures return the very object they were given."""


def compile_type(type: WitType) -> Forms:
    """The closures of a type. Cost is linear in the size of the type."""
    match type:
        case Primitive():
            return _primitive(type)
        case ListType(element=Primitive.U8):
            return _BYTES
        case ListType():
            return _list(type)
        case Option():
            return _option(type)
        case Result():
            return _result(type)
        case Tuple():
            return _tuple(type)
        case Record():
            return _record(type)
        case Variant():
            return _variant(type)
        case Enum():
            return _enum(type)
        case Flags():
            return _flags(type)
        case Own() | Borrow():
            return _handle(type)
        case Stream():
            return _STREAM


def _same(check: Closure) -> Forms:
    return Forms(check, check, True)


def _primitive(type_: Primitive) -> Forms:
    if type_ in INTEGERS:
        return _same(_integer(type_.value, *INTEGERS[type_]))
    if type_ is Primitive.BOOL:
        return _same(_exact("bool", bool))
    if type_ is Primitive.STRING:
        return _same(_exact("string", str))
    if type_ is Primitive.CHAR:
        return _same(_char)
    return Forms(*(_float(type_.value, F32_MAX if type_ is Primitive.F32 else math.inf),) * 2)


def _exact(name: str, wanted: type) -> Closure:
    def check(value: Any, _: Pass) -> Any:
        if type(value) is wanted:
            return value
        raise Mismatch(name, value)

    return check


def _integer(name: str, low: int, high: int) -> Closure:
    def check(value: Any, _: Pass) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        raise Mismatch(f"{name} ({low} to {high})", value)

    return check


def _float(name: str, largest: float) -> Closure:
    def check(value: Any, _: Pass) -> Any:
        if type(value) is not float:
            if type(value) is not int:
                raise Mismatch(name, value)
            try:
                value = float(value)
            except OverflowError:
                raise Mismatch(name, value) from None
        if not -largest <= value <= largest and math.isfinite(value):
            raise Mismatch(name, value)
        return value

    return check


def _char(value: Any, _: Pass) -> Any:
    if type(value) is str and len(value) == 1 and not "\ud800" <= value <= "\udfff":
        return value
    raise Mismatch("char (one Unicode scalar value)", value)


def _encode_bytes(value: Any, state: Pass) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise Mismatch("list<u8>", value)
    state.count(value.nbytes if isinstance(value, memoryview) else len(value))
    return value if type(value) is bytes else bytes(value)


def _decode_bytes(value: Any, state: Pass) -> bytes:
    if type(value) is not bytes:
        raise Mismatch("list<u8>", value)
    state.count(len(value))
    return value


_BYTES = Forms(_encode_bytes, _decode_bytes)


def _list(type_: ListType) -> Forms:
    name = type_text(type_)
    element = compile_type(type_.element)

    def mapper(convert: Closure, same: bool) -> Closure:
        def run(value: Any, state: Pass) -> Any:
            if type(value) is not list and type(value) is not tuple:
                raise Mismatch(name, value)
            index = 0
            try:
                if same and type(value) is list:
                    for index, item in enumerate(value):  # noqa: B007 (read in the handler below)
                        convert(item, state)
                    return value
                result = []
                for index, item in enumerate(value):  # noqa: B007
                    result.append(convert(item, state))
                return result
            except Mismatch as error:
                error.below(f"[{index}]")
                raise

        return run

    return Forms(
        mapper(element.encode, element.identical), mapper(element.decode, element.identical), element.identical
    )


def _tuple(type_: Tuple) -> Forms:
    name = type_text(type_)
    items = [compile_type(item) for item in type_.items]

    def mapper(converts: list[Closure], wanted: type[list[Any]] | type[tuple[Any, ...]]) -> Closure:
        def run(value: Any, state: Pass) -> Any:
            if not isinstance(value, wanted) or len(value) != len(converts):
                raise Mismatch(name, value)
            result: list[Any] = []
            try:
                for convert, item in zip(converts, value, strict=True):
                    result.append(convert(item, state))
            except Mismatch as error:
                error.below(f"[{len(result)}]")
                raise
            return tuple(result) if wanted is list else result

        return run

    return Forms(mapper([item.encode for item in items], tuple), mapper([item.decode for item in items], list))


def _record(type_: Record) -> Forms:
    name = type_text(type_)
    fields = [(field, compile_type(of)) for field, of in type_.fields]
    same = all(forms.identical for _, forms in fields)
    names = frozenset(field for field, _ in fields)

    def mapper(converts: list[tuple[str, Closure]]) -> Closure:
        def run(value: Any, state: Pass) -> Any:
            if type(value) is not dict:
                raise Mismatch(name, value)
            if len(value) != len(converts) or not names.issuperset(value):
                raise _wrong_fields(names, value)
            field = ""
            try:
                if same:
                    for field, convert in converts:
                        convert(value[field], state)
                    return value
                result = {}
                for field, convert in converts:
                    result[field] = convert(value[field], state)
                return result
            except Mismatch as error:
                error.below(f".{field}")
                raise

        return run

    return Forms(
        mapper([(field, forms.encode) for field, forms in fields]),
        mapper([(field, forms.decode) for field, forms in fields]),
        same,
    )


def _wrong_fields(names: frozenset[str], value: dict[Any, Any]) -> Mismatch:
    missing = sorted(names.difference(value))
    if missing:
        return Mismatch(f"a record with field `{missing[0]}`", value)
    extra = next(key for key in value if key not in names)
    return Mismatch(f"a record without field `{str(extra)[:40]}`", value)


def _option(type_: Option) -> Forms:
    inner = compile_type(type_.some)
    if isinstance(type_.some, Option):
        return _nested_option(type_, inner)

    def mapper(convert: Closure) -> Closure:
        return lambda value, state: None if value is None else convert(value, state)

    return Forms(mapper(inner.encode), mapper(inner.decode), inner.identical)


def _nested_option(type_: Option, inner: Forms) -> Forms:
    name = type_text(type_)

    def encode(value: Any, state: Pass) -> Any:
        if value is None:
            return None
        if type(value) is not Some:
            raise Mismatch(f"{name} (None or Some)", value)
        return [inner.encode(value.value, state)]

    def decode(value: Any, state: Pass) -> Any:
        if value is None:
            return None
        if type(value) is not list or len(value) != 1:
            raise Mismatch(f"{name} (null or an array of one)", value)
        return Some(inner.decode(value[0], state))

    return Forms(encode, decode)


def _payload(type_: WitType | None) -> Forms:
    """Of a result's side: the payload, or nothing."""
    return _same(_nothing) if type_ is None else compile_type(type_)


def _nothing(value: Any, _: Pass) -> None:
    if value is not None:
        raise Mismatch("no payload", value)


def _result(type_: Result) -> Forms:
    name = type_text(type_)
    ok, err = _payload(type_.ok), _payload(type_.err)

    def encode(value: Any, state: Pass) -> Any:
        side, forms = ("ok", ok) if type(value) is Ok else ("err", err)
        if type(value) is not Ok and type(value) is not Err:
            raise Mismatch(f"{name} (Ok or Err)", value)
        try:
            return {side: forms.encode(value.value, state)}
        except Mismatch as error:
            error.below(f".{side}")
            raise

    def decode(value: Any, state: Pass) -> Any:
        if type(value) is not dict or len(value) != 1:
            raise Mismatch(name, value)
        try:
            if "ok" in value:
                return Ok(ok.decode(value["ok"], state))
            if "err" in value:
                return Err(err.decode(value["err"], state))
        except Mismatch as error:
            error.below(".ok" if "ok" in value else ".err")
            raise
        raise Mismatch(f'{name} ("ok" or "err")', value)

    return Forms(encode, decode)


def _variant(type_: Variant) -> Forms:
    name = type_text(type_)
    cases = {case: None if of is None else compile_type(of) for case, of in type_.cases}

    def encode(value: Any, state: Pass) -> Any:
        if type(value) is not Case or value.name not in cases:
            raise Mismatch(f"{name} (Case)", value.name if type(value) is Case else value)
        forms = cases[value.name]
        try:
            if forms is None:
                _nothing(value.value, state)
                return value.name
            return {value.name: forms.encode(value.value, state)}
        except Mismatch as error:
            error.below(f".{value.name}")
            raise

    def decode(value: Any, state: Pass) -> Any:
        if type(value) is str and value in cases and cases[value] is None:
            return Case(value)
        if type(value) is not dict or len(value) != 1:
            raise Mismatch(name, value)
        [(case, payload)] = value.items()
        forms = cases.get(case)
        if forms is None:
            raise Mismatch(name, case)
        try:
            return Case(case, forms.decode(payload, state))
        except Mismatch as error:
            error.below(f".{case}")
            raise

    return Forms(encode, decode)


def _enum(type_: Enum) -> Forms:
    names = frozenset(type_.names)

    def check(value: Any, _: Pass) -> Any:
        if type(value) is str and value in names:
            return value
        raise Mismatch(type_text(type_), value)

    return _same(check)


def _flags(type_: Flags) -> Forms:
    name = type_text(type_)
    labels = type_.names
    known = frozenset(labels)

    def encode(value: Any, _: Pass) -> Any:
        if not isinstance(value, frozenset | set) or not known.issuperset(value):
            raise Mismatch(name, sorted(map(str, value)) if isinstance(value, frozenset | set) else value)
        return [label for label in labels if label in value]

    def decode(value: Any, _: Pass) -> Any:
        if type(value) is not list or not all(type(label) is str and label in known for label in value):
            raise Mismatch(name, value)
        result = frozenset(value)
        if len(result) != len(value):
            raise Mismatch(f"{name} without repetition", value)
        return result

    return Forms(encode, decode)


def _handle(type_: Own | Borrow) -> Forms:
    name = type_text(type_)
    resource, owned = type_.resource, isinstance(type_, Own)
    wire_type = str(resource)

    def encode(value: Any, state: Pass) -> Any:
        try:
            handle = state.crossing.lower_resource(value, resource, owned)
        except ValueError as error:
            raise Mismatch(f"{name} ({error})", value) from None
        return CBORTag(HANDLE_TAG, [wire_type, handle.owner, handle.id])

    def decode(value: Any, state: Pass) -> Any:
        if type(value) is not CBORTag or value.tag != HANDLE_TAG:
            raise Mismatch(name, value)
        parts = value.value
        if not isinstance(parts, list | tuple) or len(parts) != 3 or not all(type(part) is str for part in parts):
            raise Mismatch(f"{name} (type, owner and id)", parts)
        if parts[0] != wire_type:
            raise Mismatch(name, parts[0])
        try:
            return state.crossing.lift_resource(Handle(parts[1], parts[2], wire_type), owned)
        except ValueError as error:
            raise Mismatch(f"{name} ({error})", value) from None

    return Forms(encode, decode)


def _encode_stream(value: Any, state: Pass) -> Any:
    try:
        return state.crossing.lower_stream(value)
    except ValueError as error:
        raise Mismatch(f"a stream ({error})", value) from None


def _decode_stream(value: Any, state: Pass) -> Any:
    try:
        return state.crossing.lift_stream(value)
    except ValueError as error:
        raise Mismatch(f"a stream ({error})", value) from None


_STREAM = Forms(_encode_stream, _decode_stream)
