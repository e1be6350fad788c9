"""Headers and trailers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wasi.world import World
from trellis_host.wasi.http.fields import FORBIDDEN, MAX_FIELDS_BYTES, HttpFields
from trellis_lattice.errors import InvocationFailed
from trellis_lattice.wit.values import Case, Err, Ok

INVALID = Err(Case("invalid-syntax"))


def test_names_are_case_insensitive_and_order_is_kept() -> None:
    world = World()
    fields = world.http("[constructor]fields")
    assert world.http("[method]fields.append", fields, "X-One", b"1") == Ok(None)
    assert world.http("[method]fields.append", fields, "b", b"2") == Ok(None)
    assert world.http("[method]fields.append", fields, "x-one", b"3") == Ok(None)
    assert world.http("[method]fields.get", fields, "X-ONE") == [b"1", b"3"]
    assert world.http("[method]fields.entries", fields) == [("x-one", b"1"), ("b", b"2"), ("x-one", b"3")]


def test_set_replaces_and_delete_removes() -> None:
    world = World()
    fields = world.http("[static]fields.from-list", [("a", b"1"), ("b", b"2"), ("A", b"3")]).value
    world.http("[method]fields.set", fields, "a", [b"4", b"5"])
    assert world.http("[method]fields.get", fields, "a") == [b"4", b"5"]
    world.http("[method]fields.delete", fields, "B")
    assert not world.http("[method]fields.has", fields, "b")
    assert world.http("[method]fields.get", fields, "b") == []


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_names_of_the_connection_are_forbidden(name: str) -> None:
    world = World()
    fields = world.http("[constructor]fields")
    for answer in (
        world.http("[static]fields.from-list", [(name.upper(), b"x")]),
        world.http("[method]fields.append", fields, name, b"x"),
        world.http("[method]fields.set", fields, name, [b"x"]),
        world.http("[method]fields.delete", fields, name),
    ):
        assert answer == Err(Case("forbidden"))


@given(
    name=st.sampled_from(["", "a b", "a:b", "ä", "a\r\nb", "a\0"]),
    value=st.sampled_from([b"fine", b"a\nb", b"a\rb", b"\0", b"\x7f"]),
)
def test_bad_syntax_is_refused_everywhere(name: str, value: bytes) -> None:
    world = World()
    fields = world.http("[constructor]fields")
    assert world.http("[static]fields.from-list", [(name, value)]) == INVALID
    assert world.http("[method]fields.append", fields, name, b"fine") == INVALID
    assert world.http("[method]fields.set", fields, name, [b"fine"]) == INVALID
    if value != b"fine":
        assert world.http("[method]fields.append", fields, "good", value) == INVALID
        assert world.http("[method]fields.set", fields, "good", [b"fine", value]) == INVALID
    assert world.http("[method]fields.entries", fields) == []


def test_a_value_that_would_start_a_new_header_is_refused() -> None:
    world = World()
    fields = world.http("[constructor]fields")
    assert world.http("[method]fields.append", fields, "a", b"1\r\nset-cookie: b=2") == INVALID


def test_headers_of_a_message_cannot_be_changed_but_a_clone_can() -> None:
    world = World()
    headers = world.http("[static]fields.from-list", [("a", b"1")]).value
    response = world.http("[constructor]outgoing-response", headers)
    seen = world.http("[method]outgoing-response.headers", response)
    for answer in (
        world.http("[method]fields.append", seen, "b", b"x"),
        world.http("[method]fields.set", seen, "b", [b"x"]),
        world.http("[method]fields.delete", seen, "a"),
    ):
        assert answer == Err(Case("immutable"))
    clone = world.http("[method]fields.clone", seen)
    assert world.http("[method]fields.append", clone, "b", b"x") == Ok(None)
    assert world.http("[method]fields.entries", seen) == [("a", b"1")]


def test_fields_cannot_grow_without_bound() -> None:
    world = World()
    fields: HttpFields = world.http("[constructor]fields")

    def fill() -> None:
        while True:
            world.http("[method]fields.append", fields, "x", b"y" * 1024)

    with pytest.raises(InvocationFailed):
        fill()
    assert sum(len(value) for _, value in fields.entries) <= MAX_FIELDS_BYTES
