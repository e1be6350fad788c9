"""Finding a function by what people call it, and reading its arguments from a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_lattice.wit.render import func_text, type_text
from trellis_lattice.wit.types import (
    Enum,
    FuncType,
    InterfaceType,
    ListType,
    Option,
    Primitive,
    Variant,
    WitType,
)

__all__ = ["Function", "find_function", "read_arguments"]

_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Function:
    """A function of an exported interface, under the interface's full name."""

    interface: str
    name: str
    type: FuncType

    @property
    def full_name(self) -> str:
        return f"{self.interface}.{self.name}" if self.interface else self.name

    @property
    def signature(self) -> str:
        return f"{self.full_name}: {func_text(self.type)}"


def find_function(exports: Mapping[str, InterfaceType], wanted: str, component: str) -> Function:
    """The function that `wanted` means: `ns:pkg/iface@ver.func`, `ns:pkg/iface.func`, `iface.func` or `func`.

    Raises `NotFound` listing what there is, `RequestInvalid` if it could mean several.
    """
    there = [
        Function(name, function, type)
        for name, interface in sorted(exports.items())
        for function, type in sorted(interface.functions.items())
    ]
    for spellings in (_exact, _unversioned, _short, _bare):
        found = [function for function in there if wanted == spellings(function)]
        if len(found) == 1:
            return found[0]
        if found:
            raise RequestInvalid(
                f"{wanted!r} may be any of {', '.join(function.full_name for function in found)}.",
                remedy="Write the whole name.",
            )
    # Some toolchains export an instance with a plain name beside their interfaces; it is not for callers.
    meant = [function for function in there if not function.interface or ":" in function.interface]
    listed = [f"  {function.signature}" for function in meant[:_MAX_SHOWN]]
    if len(meant) > _MAX_SHOWN:
        listed.append(f"  … and {len(meant) - _MAX_SHOWN} more")
    raise NotFound(
        f"`{component}` exports no function {wanted!r}.",
        remedy="It exports:\n" + "\n".join(listed) if listed else "It exports no function at all.",
        functions=[function.full_name for function in meant],
    )


def _exact(function: Function) -> str:
    return function.full_name


def _unversioned(function: Function) -> str:
    return f"{function.interface.partition('@')[0]}.{function.name}"


def _short(function: Function) -> str:
    return f"{function.interface.partition('@')[0].rpartition('/')[2]}.{function.name}"


def _bare(function: Function) -> str:
    return function.name


def read_arguments(function: Function, texts: Sequence[str]) -> list[Any]:
    """The arguments as JSON data. Where a type is written as text, quotes may be left out.

    Raises `RequestInvalid` naming the parameter, its type and the signature.
    """
    params = function.type.params
    if len(texts) != len(params):
        count = f"{len(params)} argument{'' if len(params) == 1 else 's'}"
        raise RequestInvalid(f"{function.full_name} takes {count}, not {len(texts)}.", remedy=function.signature)
    return [_read(text, type, name, function) for text, (name, type) in zip(texts, params, strict=True)]


def _read(text: str, type: WitType, name: str, function: Function) -> Any:
    if _is_text(type) and not text.lstrip().startswith(('"', "{", "[")) and not _is_nothing(text, type):
        return text
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if _is_text(type):
            return text
        where = f": {error}" if text.lstrip().startswith(("{", "[", '"')) else ""
        raise RequestInvalid(
            f"The argument `{name}` must be JSON for {type_text(type)}, but {text[:80]!r} is not{where}.",
            remedy=function.signature,
        ) from None


def _is_text(type: WitType) -> bool:
    """Whether its JSON form is, or may be, a string."""
    match type:
        case Option(some=inner):
            return _is_text(inner)
        case ListType(element=element):
            return element is Primitive.U8
        case Enum() | Variant():
            return True
        case _:
            return type in (Primitive.STRING, Primitive.CHAR)


def _is_nothing(text: str, type: WitType) -> bool:
    return isinstance(type, Option) and text.strip() == "null"


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
