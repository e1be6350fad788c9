"""JSON forms of WIT values: round trips, what people may type, precise errors."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given

from tests.wit.strategies import EXAMPLES, TYPED_VALUES, same
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.wit import (
    Case,
    Enum,
    FuncType,
    ListType,
    Ok,
    Option,
    Primitive,
    Record,
    Result,
    Some,
    Stream,
    Tuple,
    Variant,
)
from trellis_lattice.wit.json import args_from_json, from_json, to_json

BYTES = ListType(Primitive.U8)
POINT = Record((("x", Primitive.U8), ("label", Option(Primitive.STRING))))


@EXAMPLES
@given(TYPED_VALUES)
def test_what_is_printed_can_be_typed(typed):
    type, value = typed
    text = json.dumps(to_json(type, value), allow_nan=False)
    assert same(from_json(type, json.loads(text)), value)


@pytest.mark.parametrize(
    ("type", "typed", "value"),
    [
        (BYTES, "héllo", "héllo".encode()),
        (BYTES, [0, 255], b"\x00\xff"),
        (BYTES, {"base64": "AP8="}, b"\x00\xff"),
        (POINT, {"x": 1}, {"x": 1, "label": None}),
        (Primitive.F64, 3, 3.0),
        (Primitive.F32, "Infinity", math.inf),
        (Variant((("none", None), ("some", Primitive.U8))), "none", Case("none")),
        (Option(Option(Primitive.U8)), [3], Some(3)),
        (Result(None, None), {"ok": None}, Ok()),
        (Tuple((Primitive.U8, Primitive.STRING)), [1, "a"], (1, "a")),
    ],
)
def test_what_people_may_type(type, typed, value):
    assert from_json(type, typed) == value


@pytest.mark.parametrize(
    ("type", "typed", "path", "expected"),
    [
        (POINT, {"x": 256}, ".x", "u8 (0 to 255)"),
        (POINT, {"y": 1}, "", "without field `y`"),
        (POINT, {}, "", "with field `x`: u8"),
        (ListType(POINT), [{"x": 1}, {"x": 1, "label": 2}], "[1].label", "string"),
        (BYTES, {"base64": "%%"}, "", "valid base64"),
        (BYTES, [256], "", "list<u8>"),
        (Enum(("red",)), "blue", "", "enum { red }"),
        (Result(Primitive.U8, None), {"ok": "x"}, ".ok", "u8"),
        (Primitive.CHAR, "ab", "", "char"),
        (Stream(), "x", "", "no stream"),
    ],
)
def test_errors_say_where_and_what(type, typed, path, expected):
    with pytest.raises(RequestInvalid) as caught:
        from_json(type, typed)
    assert caught.value.fields["path"] == path
    assert expected in caught.value.fields["expected"]


def test_arguments_are_counted_and_named():
    type = FuncType((("key", Primitive.STRING), ("delta", Primitive.S64)))
    assert args_from_json(type, ["a", 1]) == ["a", 1]
    with pytest.raises(RequestInvalid, match=r"Expected 2 argument\(s\) \(key: string, delta: s64\), got 1"):
        args_from_json(type, ["a"])
    with pytest.raises(RequestInvalid, match="Argument `delta`: expected s64"):
        args_from_json(type, ["a", "b"])
