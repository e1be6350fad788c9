"""CBOR forms of WIT values: round trips of any type, strictness, precise errors, limits."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wit.strategies import EXAMPLES, TYPED_VALUES, TYPES, same
from trellis_lattice.errors import PeerMisbehaved, RequestInvalid
from trellis_lattice.invocation.api import Handle
from trellis_lattice.wit import (
    Borrow,
    Case,
    Enum,
    Err,
    Flags,
    FuncType,
    ListType,
    Ok,
    Option,
    Own,
    Primitive,
    Record,
    ResourceId,
    Result,
    Some,
    Stream,
    Tuple,
    Variant,
)
from trellis_lattice.wit.cbor import MAX_BYTES, MAX_DEPTH, Codec, FuncCodec, loads

BUCKET = ResourceId("wasi:keyvalue/store", "bucket")
POINT = Record((("x-axis", Primitive.S32), ("label", Option(Primitive.STRING))))
SHAPE = Variant((("empty", None), ("circle", Primitive.F64), ("points", ListType(POINT))))


@EXAMPLES
@given(TYPED_VALUES)
def test_what_is_encoded_decodes_to_itself(typed):
    type, value = typed
    codec = Codec(type)
    wire = cbor2.loads(cbor2.dumps(codec.encode(value)))
    assert same(codec.decode(wire), value)


@EXAMPLES
@given(TYPED_VALUES)
def test_identical_codecs_return_the_value_itself(typed):
    type, value = typed
    codec = Codec(type)
    if codec.identical and type is not None and not isinstance(value, tuple):
        assert codec.encode(value) is value
        assert codec.decode(value) is value


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@EXAMPLES
@given(TYPES, JUNK)
def test_anything_else_is_refused_or_is_a_value(type, junk):
    codec = Codec(type)
    try:
        value = codec.decode(junk)
    except PeerMisbehaved as error:
        assert error.fields.keys() == {"path", "expected", "found"}  # noqa: PT017 (either outcome is right)
    else:
        codec.encode(value)


@EXAMPLES
@given(TYPES, JUNK)
def test_wrong_python_values_are_refused_by_their_sender(type, junk):
    codec = Codec(type)
    try:
        wire = codec.encode(junk)
    except RequestInvalid as error:
        assert error.fields.keys() == {"path", "expected", "found"}  # noqa: PT017 (either outcome is right)
    else:
        codec.decode(cbor2.loads(cbor2.dumps(wire)))


@EXAMPLES
@given(st.binary(max_size=64))
def test_any_bytes_are_a_value_or_misbehaviour(data):
    codec = FuncCodec(FuncType((("shape", SHAPE), ("other", POINT)), SHAPE))
    with pytest.raises(RequestInvalid):
        codec.decode_args(data)
    with contextlib.suppress(PeerMisbehaved):
        codec.decode_result(data)


@pytest.mark.parametrize(
    ("type", "value", "wire"),
    [
        (Primitive.BOOL, True, True),
        (Primitive.U8, 255, 255),
        (Primitive.S64, -(1 << 63), -(1 << 63)),
        (Primitive.U64, (1 << 64) - 1, (1 << 64) - 1),
        (Primitive.F64, 1.5, 1.5),
        (Primitive.CHAR, "é", "é"),
        (Primitive.STRING, "text", "text"),
        (ListType(Primitive.U8), b"\x00\xff", b"\x00\xff"),
        (ListType(Primitive.U16), [1, 2], [1, 2]),
        (Tuple((Primitive.STRING, Primitive.U8)), ("a", 1), ["a", 1]),
        (POINT, {"x-axis": 1, "label": None}, {"x-axis": 1, "label": None}),
        (SHAPE, Case("empty"), "empty"),
        (SHAPE, Case("circle", 2.0), {"circle": 2.0}),
        (Enum(("red", "green")), "green", "green"),
        (Flags(("a", "b", "c")), frozenset({"c", "a"}), ["a", "c"]),
        (Option(Option(Primitive.U8)), None, None),
        (Option(Option(Primitive.U8)), Some(None), [None]),
        (Option(Option(Primitive.U8)), Some(7), [7]),
        (Result(None, Primitive.STRING), Ok(), {"ok": None}),
        (Result(None, Primitive.STRING), Err("no"), {"err": "no"}),
        (
            Borrow(BUCKET),
            Handle("", "visits", "wasi:keyvalue/store.bucket"),
            cbor2.CBORTag(27, ["wasi:keyvalue/store.bucket", "", "visits"]),
        ),
    ],
)
def test_the_mapping(type, value, wire):
    codec = Codec(type)
    assert codec.encode(value) == wire
    assert codec.decode(wire) == value


@pytest.mark.parametrize(
    ("type", "value", "path", "expected"),
    [
        (POINT, {"x-axis": "1", "label": None}, ".x-axis", "s32"),
        (
            SHAPE,
            Case("points", [{"x-axis": 1, "label": None}, {"x-axis": 1, "label": 5}]),
            ".points[1].label",
            "string",
        ),
        (Tuple((Primitive.U8, Primitive.U8)), (1, 256), "[1]", "u8"),
        (Result(ListType(Primitive.CHAR), None), Ok(["a", "bc"]), ".ok[1]", "char"),
        (Record((("a", Primitive.U8),)), {"b": 1}, "", "a record with field `a`"),
        (Record((("a", Primitive.U8),)), {"a": 1, "b": 1}, "", "a record without field `b`"),
        (Option(Option(Primitive.U8)), 7, "", "Some"),
        (Flags(("a",)), frozenset({"z"}), "", "flags { a }"),
        (Own(BUCKET), object(), "", "bucket"),
        (Primitive.U8, True, "", "u8"),
        (Primitive.F32, 1e39, "", "f32"),
        (Primitive.CHAR, "\ud800", "", "char"),
    ],
)
def test_errors_name_the_path_and_the_type(type, value, path, expected):
    with pytest.raises(RequestInvalid) as caught:
        Codec(type).encode(value)
    assert caught.value.fields["path"] == path
    assert expected in caught.value.fields["expected"]


def test_too_many_bytes_in_one_value_are_refused_with_size_and_limit():
    type = FuncType((("a", ListType(ListType(Primitive.U8))), ("b", ListType(Primitive.U8))), ListType(Primitive.U8))
    codec = FuncCodec(type)
    half = bytes(MAX_BYTES // 2)
    args = [[half, half], half]
    assert codec.decode_args(codec.encode_args(args)) == args
    with pytest.raises(RequestInvalid) as caught:
        codec.encode_args([[half, half, b"!"], b""], where="x.put: ")
    assert caught.value.fields == {"path": "[2]", "size": MAX_BYTES + 1, "limit": MAX_BYTES}
    assert caught.value.message.startswith("x.put: Argument `a`")
    with pytest.raises(RequestInvalid):
        codec.decode_result(cbor2.dumps(bytes(MAX_BYTES + 1)))
    with pytest.raises(RequestInvalid):
        codec.encode_result(bytes(MAX_BYTES + 1))


def test_whose_fault_a_wrong_value_is():
    codec = FuncCodec(FuncType((("key", Primitive.STRING),), Primitive.U8))
    with pytest.raises(RequestInvalid):
        codec.encode_args([5])
    with pytest.raises(RequestInvalid):
        codec.decode_args(cbor2.dumps([5]))
    with pytest.raises(RequestInvalid):
        codec.decode_args(cbor2.dumps(["a", "b"]))
    with pytest.raises(RequestInvalid):
        codec.encode_args(["\ud800"])
    with pytest.raises(PeerMisbehaved):
        codec.encode_result("text")
    with pytest.raises(PeerMisbehaved):
        codec.decode_result(cbor2.dumps("text"))
    with pytest.raises(PeerMisbehaved):
        FuncCodec(FuncType((), None)).encode_result("something")


def test_a_function_without_result_answers_null():
    codec = FuncCodec(FuncType(()))
    assert codec.encode_result(None) == b"\xf6"
    assert codec.decode_result(b"\xf6") is None


@pytest.mark.parametrize(
    "data",
    [b"", b"\x82\x01", b"\x81" * (MAX_DEPTH + 1) + b"\x01", b"\x62\xff\xff", b"\xa2\x61a\x01\x61a\x02", b"\xff"],
)
def test_malformed_cbor_is_misbehaviour(data):
    with pytest.raises(PeerMisbehaved):
        loads(data)


def test_a_stream_does_not_cross_as_data():
    with pytest.raises(RequestInvalid, match="a stream"):
        Codec(Stream()).encode(object())
    with pytest.raises(PeerMisbehaved, match="a stream"):
        Codec(Stream()).decode(b"all")


@pytest.mark.parametrize(
    "wire",
    [
        cbor2.CBORTag(28, ["wasi:keyvalue/store.bucket", "", "x"]),
        cbor2.CBORTag(27, ["wasi:keyvalue/store.other", "", "x"]),
        cbor2.CBORTag(27, ["wasi:keyvalue/store.bucket", "x"]),
        cbor2.CBORTag(27, ["wasi:keyvalue/store.bucket", 1, "x"]),
        "visits",
    ],
)
def test_wrong_handles_are_refused(wire):
    with pytest.raises(PeerMisbehaved):
        Codec(Borrow(BUCKET)).decode(cbor2.loads(cbor2.dumps(wire)))
