"""WIT values as JSON, for people: arguments typed on a command line, results printed (docs/protocol.md, "Values").

As CBOR, except that JSON has no bytes, no tags and no NaN: `list<u8>` is `{"base64": "…"}` (a string, taken as
UTF-8, or an array of numbers is accepted too), a handle `{"handle": {"type", "owner", "id"}}`, a float that
JSON lacks one of `"NaN"`, `"Infinity"`, `"-Infinity"`.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any

from trellis_lattice.errors import RequestInvalid
from trellis_lattice.invocation.api import Handle
from trellis_lattice.wit._compile import F32_MAX, INTEGERS
from trellis_lattice.wit._mismatch import MAX_BYTES, Mismatch
from trellis_lattice.wit.render import type_text
from trellis_lattice.wit.types import (
    Borrow,
    Enum,
    Flags,
    FuncType,
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

__all__ = ["args_from_json", "from_json", "to_json"]

_NOT_NUMBERS: Mapping[str, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def args_from_json(type: FuncType, args: Sequence[Any]) -> list[Any]:
    """The arguments of a call. Raises `RequestInvalid` naming the parameter, the path in it and its type."""
    if len(args) != len(type.params):
        names = ", ".join(f"{name}: {type_text(of)}" for name, of in type.params) or "none"
        raise RequestInvalid(
            f"Expected {len(type.params)} argument(s) ({names}), got {len(args)}.",
            expected=len(type.params),
            found=len(args),
        )
    return [from_json(of, arg, what=f"Argument `{name}`") for (name, of), arg in zip(type.params, args, strict=True)]


def from_json(type: WitType, value: Any, *, what: str = "The value") -> Any:
    """The Python value (wit/values.py) of parsed JSON. Raises `RequestInvalid` with `path`, `expected`, `found`."""
    try:
        return _read(type, value)
    except Mismatch as error:
        place = f"{what} at {error.path}" if error.path else what
        raise RequestInvalid(
            f"{place}: expected {error.expected}, found {error.found}.",
            path=error.path,
            expected=error.expected,
            found=error.found,
        ) from None


def to_json(type: WitType | None, value: Any) -> Any:
    """What `json.dumps` takes, of a valid Python value. `None` as type: of a function without result."""
    match type:
        case None:
            return None
        case Primitive.F32 | Primitive.F64:
            return value if math.isfinite(value) else _name_of(value)
        case Primitive() | Enum():
            return value
        case ListType(element=Primitive.U8):
            return {"base64": base64.b64encode(value).decode()}
        case ListType():
            return [to_json(type.element, item) for item in value]
        case Option():
            if value is None:
                return None
            return [to_json(type.some, value.value)] if isinstance(value, Some) else to_json(type.some, value)
        case Result():
            if isinstance(value, Ok):
                return {"ok": to_json(type.ok, value.value)}
            return {"err": to_json(type.err, value.value)}
        case Tuple():
            return [to_json(of, item) for of, item in zip(type.items, value, strict=True)]
        case Record():
            return {name: to_json(of, value[name]) for name, of in type.fields}
        case Variant():
            payload = dict(type.cases)[value.name]
            return value.name if payload is None else {value.name: to_json(payload, value.value)}
        case Flags():
            return [name for name in type.names if name in value]
        case Own() | Borrow():
            return {"handle": {"type": value.type, "owner": value.owner, "id": value.id}}
        case Stream():
            raise RequestInvalid("A stream cannot be written as JSON.")


def _name_of(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _read(type_: WitType, value: Any) -> Any:
    match type_:
        case Primitive():
            return _read_primitive(type_, value)
        case ListType(element=Primitive.U8):
            return _read_bytes(value)
        case ListType():
            return _read_items(type_, [type_.element] * len(value) if isinstance(value, list) else [], value)
        case Tuple():
            return tuple(_read_items(type_, type_.items, value))
        case Option():
            return _read_option(type_, value)
        case Result():
            return _read_result(type_, value)
        case Record():
            return _read_record(type_, value)
        case Variant():
            return _read_variant(type_, value)
        case Enum():
            if isinstance(value, str) and value in type_.names:
                return value
        case Flags():
            if isinstance(value, list) and all(isinstance(name, str) and name in type_.names for name in value):
                return frozenset(value)
        case Own() | Borrow():
            return _read_handle(type_, value)
        case Stream():
            raise Mismatch("no stream: it cannot be written as JSON", value)
    raise Mismatch(type_text(type_), value)


def _read_primitive(type_: Primitive, value: Any) -> Any:
    if type_ in INTEGERS:
        low, high = INTEGERS[type_]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Mismatch(f"{type_.value} ({low} to {high})", value)
    if type_ is Primitive.BOOL and isinstance(value, bool):
        return value
    if type_ in (Primitive.F32, Primitive.F64):
        return _read_float(type_, value)
    if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value):
        if type_ is Primitive.STRING or (type_ is Primitive.CHAR and len(value) == 1):
            return value
        raise Mismatch("char (a string of one character)" if type_ is Primitive.CHAR else type_.value, value)
    raise Mismatch(type_.value, value)


def _read_float(type_: Primitive, value: Any) -> float:
    if isinstance(value, str) and value in _NOT_NUMBERS:
        return _NOT_NUMBERS[value]
    largest = F32_MAX if type_ is Primitive.F32 else math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise Mismatch(type_.value, value) from None
        if not math.isfinite(number) or abs(number) <= largest:
            return number
    raise Mismatch(type_.value, value)


def _read_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
    elif isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        try:
            data = base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise Mismatch("list<u8> (valid base64)", value["base64"]) from None
    elif isinstance(value, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 256 for v in value
    ):
        data = bytes(value)
    else:
        raise Mismatch('list<u8> ({"base64": …}, a string, or an array of 0 to 255)', value)
    if len(data) > MAX_BYTES:
        raise Mismatch(f"at most {MAX_BYTES} bytes", data)
    return data


def _read_items(type_: WitType, items: Sequence[WitType], value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) != len(items):
        raise Mismatch(type_text(type_), value)
    return [_below(f"[{index}]", of, item) for index, (of, item) in enumerate(zip(items, value, strict=True))]


def _below(part: str, type_: WitType, value: Any) -> Any:
    try:
        return _read(type_, value)
    except Mismatch as error:
        error.below(part)
        raise


def _read_option(type_: Option, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(type_.some, Option):
        return _read(type_.some, value)
    if not isinstance(value, list) or len(value) != 1:
        raise Mismatch(f"{type_text(type_)} (null, or an array of one)", value)
    return Some(_read(type_.some, value[0]))


def _read_payload(part: str, type_: WitType | None, value: Any) -> Any:
    if type_ is not None:
        return _below(part, type_, value)
    if value is not None:
        error = Mismatch("null", value)
        error.below(part)
        raise error
    return None


def _read_result(type_: Result, value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"ok"}:
        return Ok(_read_payload(".ok", type_.ok, value["ok"]))
    if isinstance(value, dict) and value.keys() == {"err"}:
        return Err(_read_payload(".err", type_.err, value["err"]))
    raise Mismatch(f'{type_text(type_)} ({{"ok": …}} or {{"err": …}})', value)


def _read_record(type_: Record, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Mismatch(type_text(type_), value)
    fields = dict(type_.fields)
    unknown = next((name for name in value if name not in fields), None)
    if unknown is not None:
        raise Mismatch(f"a record without field `{unknown[:40]}` (it has {', '.join(fields)})", value)
    result = {}
    for name, of in fields.items():
        if name not in value and not isinstance(of, Option):
            raise Mismatch(f"a record with field `{name}`: {type_text(of)}", value)
        result[name] = _below(f".{name}", of, value.get(name))
    return result


def _read_variant(type_: Variant, value: Any) -> Case:
    cases = dict(type_.cases)
    if isinstance(value, str) and value in cases and cases[value] is None:
        return Case(value)
    if isinstance(value, dict) and len(value) == 1:
        [(name, payload)] = value.items()
        of = cases.get(name)
        if of is not None:
            return Case(name, _below(f".{name}", of, payload))
    raise Mismatch(type_text(type_), value)


def _read_handle(type_: Own | Borrow, value: Any) -> Handle:
    wanted = str(type_.resource)
    inner = value.get("handle") if isinstance(value, dict) and len(value) == 1 else None
    if (
        not isinstance(inner, dict)
        or inner.keys() != {"type", "owner", "id"}
        or not all(isinstance(text, str) for text in inner.values())
        or inner["type"] != wanted
    ):
        raise Mismatch(f'{type_text(type_)} ({{"handle": {{"type": "{wanted}", "owner", "id"}}}})', value)
    return Handle(inner["owner"], inner["id"], wanted)
