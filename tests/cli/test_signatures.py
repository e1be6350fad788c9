"""Functions by name, arguments by type."""

from __future__ import annotations

import pytest

from trellis_cli.signatures import Function, find_function, read_arguments
from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_lattice.wit.types import (
    Enum,
    FuncType,
    InterfaceType,
    ListType,
    Option,
    Primitive,
    Record,
    Variant,
)

ADD = FuncType((("a", Primitive.U32), ("b", Primitive.U32)), Primitive.U32)
EXPORTS = {
    "ex:math/calc@1.2.0": InterfaceType("ex:math/calc@1.2.0", {"add": ADD, "reset": FuncType(())}),
    "ex:math/other": InterfaceType("ex:math/other", {"reset": FuncType(())}),
    "": InterfaceType("", {"run": FuncType(())}),
}


@pytest.mark.parametrize("wanted", ["ex:math/calc@1.2.0.add", "ex:math/calc.add", "calc.add", "add"])
def test_a_function_has_several_names(wanted: str) -> None:
    found = find_function(EXPORTS, wanted, "c")
    assert (found.interface, found.name, found.type) == ("ex:math/calc@1.2.0", "add", ADD)


def test_a_function_at_the_root() -> None:
    assert find_function(EXPORTS, "run", "c").interface == ""


def test_a_name_that_means_several_is_refused() -> None:
    with pytest.raises(RequestInvalid, match="may be any of"):
        find_function(EXPORTS, "reset", "c")
    assert find_function(EXPORTS, "other.reset", "c").interface == "ex:math/other"


def test_an_unknown_function_lists_what_there_is() -> None:
    with pytest.raises(NotFound) as caught:
        find_function(EXPORTS, "calc.sub", "c")
    assert caught.value.remedy is not None
    assert "ex:math/calc@1.2.0.add: func(a: u32, b: u32) -> u32" in caught.value.remedy


def read(type: object, text: str) -> object:
    return read_arguments(Function("i", "f", FuncType((("x", type),))), [text])[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        (Primitive.STRING, "hello", "hello"),
        (Primitive.STRING, '"quoted"', "quoted"),
        (Primitive.STRING, "12", "12"),
        (Primitive.STRING, "{not json", "{not json"),
        (Primitive.STRING, "", ""),
        (Primitive.U32, "12", 12),
        (Primitive.BOOL, "true", True),
        (Primitive.F64, "1.5", 1.5),
        (Option(Primitive.STRING), "null", None),
        (Option(Primitive.STRING), "x", "x"),
        (Option(Primitive.U8), "3", 3),
        (Enum(("red", "green")), "red", "red"),
        (Variant((("none", None), ("some", Primitive.U8))), '{"some": 1}', {"some": 1}),
        (Variant((("none", None), ("some", Primitive.U8))), "none", "none"),
        (ListType(Primitive.U8), '{"base64": "AA=="}', {"base64": "AA=="}),
        (ListType(Primitive.U8), "bytes", "bytes"),
        (ListType(Primitive.STRING), '["a"]', ["a"]),
        (Record((("n", Primitive.U8),)), '{"n": 1}', {"n": 1}),
    ],
)
def test_arguments_are_read_by_type(type: object, text: str, value: object) -> None:
    assert read(type, text) == value


@pytest.mark.parametrize(
    ("type", "text"),
    [(Primitive.U32, "x"), (ListType(Primitive.STRING), "a"), (Primitive.F64, "NaN"), (Primitive.U8, "[" * 5000)],
)
def test_what_is_not_json_names_parameter_and_signature(type: object, text: str) -> None:
    with pytest.raises(RequestInvalid, match="`x`") as caught:
        read(type, text)
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("i.f: func(x: ")


def test_the_number_of_arguments_is_checked() -> None:
    with pytest.raises(RequestInvalid, match="takes 2 arguments, not 1"):
        read_arguments(Function("i", "add", ADD), ["1"])
