"""Descriptions of types, differences between interfaces, and WIT text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wit.strategies import EXAMPLES, TYPES
from trellis_lattice.errors import PeerMisbehaved
from trellis_lattice.wit import (
    Borrow,
    FuncType,
    InterfaceType,
    ListType,
    Option,
    Own,
    Primitive,
    Record,
    ResourceId,
    Result,
    Stream,
    Variant,
)
from trellis_lattice.wit.describe import (
    MAX_DEPTH,
    describe_interface,
    describe_type,
    differences,
    parse_interface,
    parse_type,
)
from trellis_lattice.wit.render import interface_text, type_text, world_text

BUCKET = ResourceId("wasi:keyvalue/store", "bucket")
ERROR = Variant((("no-such-store", None), ("access-denied", None), ("other", Primitive.STRING)))
STORE = InterfaceType(
    "wasi:keyvalue/store@0.2.0-draft",
    {
        "open": FuncType((("identifier", Primitive.STRING),), Result(Own(BUCKET), ERROR)),
        "[method]bucket.get": FuncType(
            (("self", Borrow(BUCKET)), ("key", Primitive.STRING)), Result(Option(ListType(Primitive.U8)), ERROR)
        ),
        "[method]bucket.list-keys": FuncType(
            (("self", Borrow(BUCKET)), ("cursor", Option(Primitive.U64))),
            Result(Record((("keys", ListType(Primitive.STRING)), ("cursor", Option(Primitive.U64)))), ERROR),
        ),
    },
    ("bucket",),
)


@EXAMPLES
@given(TYPES)
def test_a_description_says_it_all(type):
    assert parse_type(json.loads(json.dumps(describe_type(type)))) == type


def test_interfaces_and_streams_are_described_too():
    assert parse_interface(json.loads(json.dumps(describe_interface(STORE)))) == STORE
    assert parse_type(describe_type(Stream())) == Stream()


JUNK = st.recursive(
    st.none() | st.integers() | st.text(max_size=6) | st.sampled_from(["u8", "record", "list"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["list", "record", "result", "own", "enum", "x"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@EXAMPLES
@given(JUNK)
def test_anything_else_is_misbehaviour_with_its_path(junk):
    try:
        type = parse_type(junk)
    except PeerMisbehaved as error:
        assert error.fields["path"].startswith("type")  # noqa: PT017 (either outcome is right)
    else:
        assert parse_type(describe_type(type)) == type


def test_endless_descriptions_end():
    wire = "u8"
    for _ in range(MAX_DEPTH + 2):
        wire = {"list": wire}
    with pytest.raises(PeerMisbehaved, match="levels"):
        parse_type(wire)


def test_the_same_interface_has_no_differences():
    assert differences(STORE, parse_interface(describe_interface(STORE))) == []


def test_differences_name_both_types_and_the_place():
    offered = InterfaceType(
        STORE.name,
        {
            **STORE.functions,
            "open": FuncType((("name", Primitive.U32),), Result(Own(BUCKET), ERROR)),
            "[method]bucket.list-keys": FuncType(
                (("self", Borrow(BUCKET)), ("cursor", Option(Primitive.U64))),
                Result(Record((("keys", ListType(Primitive.STRING)), ("cursor", Option(Primitive.STRING)))), ERROR),
            ),
            "more": FuncType(()),
        },
        STORE.resources,
    )
    first, second = differences(STORE, offered)
    assert first == "Parameter `identifier` of `open` is `string` where asked for and `u32` where offered."
    assert "the result of `[method]bucket.list-keys`" in second.lower()
    assert "option<u64>" in second
    assert "option<string>" in second
    assert "(first difference at .ok.cursor)" in second


def test_missing_functions_and_other_counts_are_differences():
    offered = InterfaceType(STORE.name, {"open": FuncType((), None)}, ())
    found = differences(STORE, offered)
    assert len(found) == 3
    assert found[0] == (
        "`open` is asked for as `func(identifier: string) -> result<bucket, variant { no-such-store, access-denied, "
        "other(string) }>` and offered as `func()`."
    )
    assert found[1] == "`[method]bucket.get` is asked for and not offered."


def test_an_interface_as_wit_text():
    assert interface_text(STORE) == (
        """\
interface store {
  variant error {
    no-such-store,
    access-denied,
    other(string),
  }
  record list-keys-result {
    keys: list<string>,
    cursor: option<u64>,
  }
  resource bucket {
    get: func(key: string) -> result<option<list<u8>>, error>;
    list-keys: func(cursor: option<u64>) -> result<list-keys-result, error>;
  }
  open: func(identifier: string) -> result<bucket, error>;
}"""
    )


def test_a_world_as_wit_text():
    root = InterfaceType("", {"run": FuncType((("list", Primitive.U8),), Result(None, None))})
    text = world_text(
        {"wasi:keyvalue/store@0.2.0-draft": STORE}, {"": root, "a:b/empty": InterfaceType("a:b/empty", {})}
    )
    assert text.splitlines()[:2] == ["world component {", "  import wasi:keyvalue/store@0.2.0-draft {"]
    assert "  export run: func(%list: u8) -> result;" in text
    assert "  export a:b/empty {}" in text


@EXAMPLES
@given(TYPES)
def test_every_type_has_a_text(type):
    assert type_text(type)
