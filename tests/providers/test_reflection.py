"""Annotations become WIT types, and values convert both ways without loss."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice.errors import ConfigError, RequestInvalid
from trellis_lattice.invocation.api import Handle
from trellis_lattice.wit import types as wit
from trellis_lattice.wit.types import Primitive
from trellis_lattice.wit.values import Case, Err, Ok, Some
from trellis_provider_sdk import NamedResource, Owned, VariantCase, char, f32, s8, u8, u16, u32, u64
from trellis_provider_sdk.kebab import kebab
from trellis_provider_sdk.reflect import Codec, Scope, codec_of


class Bucket(NamedResource, interface="acme:kv/store", name="bucket"):
    pass


class Colour(enum.Enum):
    LIGHT_RED = 1
    BLUE = 2


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE_ALL = enum.auto()


class NoSuchStore(VariantCase):
    pass


@dataclass(frozen=True)
class Other(VariantCase):
    value: str


@dataclass(frozen=True)
class Item:
    max_size: u16
    type_: str
    colour: Colour
    tags: list[str]


@dataclass(frozen=True)
class Loop:
    inner: list[Loop]


@dataclass(frozen=True)
class Nothing:
    pass


@dataclass(frozen=True)
class TwoFields(VariantCase):
    value: str
    more: str


StoreError = NoSuchStore | Other
ITEM = wit.Record(
    (
        ("max-size", Primitive.U16),
        ("type", Primitive.STRING),
        ("colour", wit.Enum(("light-red", "blue"))),
        ("tags", wit.ListType(Primitive.STRING)),
    )
)
STORE_ERROR = wit.Variant((("no-such-store", None), ("other", Primitive.STRING)))
BUCKET = wit.ResourceId("acme:kv/store", "bucket")


def codec(annotation: Any) -> Codec:
    return codec_of(annotation, "f", Scope("acme:kv/store", lambda _: None, {}))


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, Primitive.STRING),
        (bool, Primitive.BOOL),
        (int, Primitive.S64),
        (float, Primitive.F64),
        (u8, Primitive.U8),
        (s8, Primitive.S8),
        (u64, Primitive.U64),
        (f32, Primitive.F32),
        (char, Primitive.CHAR),
        (bytes, wit.ListType(Primitive.U8)),
        (list[u32], wit.ListType(Primitive.U32)),
        (tuple[str, bytes], wit.Tuple((Primitive.STRING, wit.ListType(Primitive.U8)))),
        (str | None, wit.Option(Primitive.STRING)),
        (Some[str | None] | None, wit.Option(wit.Option(Primitive.STRING))),
        (Some[str] | None, wit.Option(Primitive.STRING)),
        (Colour, wit.Enum(("light-red", "blue"))),
        (Literal["get", "put"], wit.Enum(("get", "put"))),
        (Rights, wit.Flags(("read", "write-all"))),
        (Item, ITEM),
        (NoSuchStore | Other, STORE_ERROR),
        (NoSuchStore | Other | None, wit.Option(STORE_ERROR)),
        (Ok[str] | Err[StoreError], wit.Result(Primitive.STRING, STORE_ERROR)),
        (Ok[None] | Err[str], wit.Result(None, Primitive.STRING)),
        (Ok[None] | Err[None], wit.Result(None, None)),
        (Ok[str | None] | Err[None], wit.Result(wit.Option(Primitive.STRING), None)),
        (Bucket, wit.Borrow(BUCKET)),
        (Owned[Bucket], wit.Own(BUCKET)),
    ],
)
def test_annotation_becomes_type(annotation: Any, expected: wit.WitType) -> None:
    assert codec(annotation).type == expected


@pytest.mark.parametrize(
    "annotation", [dict[str, int], object, complex, tuple[int, ...], Literal[1], str | int, set[str]]
)
def test_what_wit_cannot_say_is_refused_with_its_place(annotation: Any) -> None:
    with pytest.raises(ConfigError, match="f is annotated"):
        codec(annotation)


@pytest.mark.parametrize("annotation", [Loop, Nothing, Other | TwoFields])
def test_shapes_without_wit_type_are_refused(annotation: Any) -> None:
    with pytest.raises(ConfigError, match=r"contains itself|no fields|other fields"):
        codec(annotation)


INTEGERS: list[tuple[Any, int, int]] = [(u8, 0, 255), (s8, -128, 127), (u64, 0, 2**64 - 1), (int, -(2**63), 2**63 - 1)]


@pytest.mark.parametrize(("annotation", "low", "high"), INTEGERS)
def test_integers_are_bounded(annotation: Any, low: int, high: int) -> None:
    out = codec(annotation).to_wit
    assert (out(low), out(high)) == (low, high)
    for wrong in (low - 1, high + 1, True, "1", None, 1.0):
        with pytest.raises(TypeError, match=r"^f: expected"):
            out(wrong)


def values() -> st.SearchStrategy[tuple[Any, Any]]:
    """Annotations with a Python value of theirs."""
    text = st.text(max_size=5)
    items = st.builds(
        Item,
        max_size=st.integers(0, 65535),
        type_=text,
        colour=st.sampled_from(Colour),
        tags=st.lists(text, max_size=3),
    )
    errors = st.one_of(st.builds(NoSuchStore), st.builds(Other, text))
    leaves: list[tuple[Any, st.SearchStrategy[Any]]] = [
        (str, text),
        (u64, st.integers(0, 2**64 - 1)),
        (bytes, st.binary(max_size=8)),
        (Item, items),
        (NoSuchStore | Other, errors),
        (Rights, st.sampled_from([Rights(0), Rights.READ, Rights.READ | Rights.WRITE_ALL])),
        (Bucket, st.builds(Bucket, text)),
    ]
    composed = [
        *leaves,
        *((list[t], st.lists(s, max_size=3)) for t, s in leaves),
        *((t | None, st.none() | s) for t, s in leaves),
        *((Some[t | None] | None, st.none() | st.builds(Some, st.none() | s)) for t, s in leaves),
        *((tuple[t, str], st.tuples(s, text)) for t, s in leaves),
        *((Ok[t] | Err[StoreError], st.builds(Ok, s) | st.builds(Err, errors)) for t, s in leaves),
    ]
    return st.one_of(*(st.tuples(st.just(t), s) for t, s in composed))


@given(values())
def test_values_survive_the_way_out_and_back(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    made = codec(annotation)
    back = made.to_wit(value)
    assert (made.from_wit(back) if made.from_wit else back) == value


def test_values_look_as_documented() -> None:
    assert codec(Item).to_wit(Item(3, "x", Colour.LIGHT_RED, ["t"])) == {
        "max-size": 3,
        "type": "x",
        "colour": "light-red",
        "tags": ["t"],
    }
    assert codec(StoreError).to_wit(Other("x")) == Case("other", "x")
    assert codec(StoreError).to_wit(NoSuchStore()) == Case("no-such-store")
    assert codec(Rights).to_wit(Rights.READ | Rights.WRITE_ALL) == frozenset({"read", "write-all"})
    assert codec(Bucket).to_wit(Bucket("b")) == Handle("", "b", "acme:kv/store.bucket")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, b"x"),
        (bytes, "x"),
        (bytes, [256]),
        (list[str], "abc"),
        (list[str], ["a", 1]),
        (tuple[str, str], ("a",)),
        (Item, {"max-size": 1}),
        (Item, Item(70000, "x", Colour.BLUE, [])),
        (Colour, "blue"),
        (Literal["a"], "b"),
        (StoreError, "other"),
        (Ok[str] | Err[str], "x"),
        (Ok[None] | Err[str], Ok(3)),
        (char, "ab"),
        (Bucket, "b"),
    ],
)
def test_a_value_that_does_not_fit_is_named(annotation: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"^f"):
        codec(annotation).to_wit(value)


@pytest.mark.parametrize("value", [Handle("", "b", "acme:kv/store.other"), "b", None])
def test_a_wrong_handle_is_the_callers_fault(value: Any) -> None:
    convert = codec(Bucket).from_wit
    assert convert is not None
    with pytest.raises(RequestInvalid):
        convert(value)


@pytest.mark.parametrize(
    ("python", "name"),
    [
        ("key_response", "key-response"),
        ("KeyResponse", "key-response"),
        ("KEY_RESPONSE", "key-response"),
        ("type_", "type"),
        ("get", "get"),
        ("HTTPError", "http-error"),
        ("Level2Cache", "level2-cache"),
    ],
)
def test_kebab(python: str, name: str) -> None:
    assert kebab(python) == name
