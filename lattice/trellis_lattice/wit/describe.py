"""Types as JSON-ready data, and what differs between two interfaces.

Providers announce their interfaces in this form; when a link is made, what the component imports is compared
with what the provider offers.

    "u32"   {"list": T}   {"option": T}   {"tuple": [T, …]}   {"result": {"ok": T|null, "err": T|null}}
    {"record": [["name", T], …]}   {"variant": [["name", T|null], …]}   {"enum": ["name", …]}
    {"flags": ["name", …]}   {"own": ["ns:pkg/iface", "name"]}   {"borrow": […]}   "stream"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trellis_lattice.errors import PeerMisbehaved
from trellis_lattice.wit.render import func_text, type_text
from trellis_lattice.wit.types import (
    Borrow,
    Enum,
    Flags,
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
    Tuple,
    Variant,
    WitType,
)

__all__ = [
    "describe_func",
    "describe_interface",
    "describe_type",
    "differences",
    "parse_func",
    "parse_interface",
    "parse_type",
]

MAX_DEPTH = 64
MAX_PARTS = 10_000
"""Most fields, cases, names or functions in one place of a description."""


def describe_type(type: WitType) -> Any:
    match type:
        case Primitive():
            return type.value
        case ListType():
            return {"list": describe_type(type.element)}
        case Option():
            return {"option": describe_type(type.some)}
        case Result():
            return {"result": {"ok": _describe_optional(type.ok), "err": _describe_optional(type.err)}}
        case Tuple():
            return {"tuple": [describe_type(item) for item in type.items]}
        case Record():
            return {"record": [[name, describe_type(of)] for name, of in type.fields]}
        case Variant():
            return {"variant": [[name, _describe_optional(of)] for name, of in type.cases]}
        case Enum():
            return {"enum": list(type.names)}
        case Flags():
            return {"flags": list(type.names)}
        case Own():
            return {"own": [type.resource.interface, type.resource.name]}
        case Borrow():
            return {"borrow": [type.resource.interface, type.resource.name]}
        case Stream():
            return "stream"


def describe_func(type: FuncType) -> dict[str, Any]:
    return {
        "params": [[name, describe_type(of)] for name, of in type.params],
        "result": _describe_optional(type.result),
    }


def describe_interface(type: InterfaceType) -> dict[str, Any]:
    return {
        "name": type.name,
        "functions": {name: describe_func(of) for name, of in type.functions.items()},
        "resources": list(type.resources),
    }


def parse_type(wire: Any, path: str = "type") -> WitType:
    """Raises `PeerMisbehaved` with the path of what is wrong."""
    return _parse_type(wire, path, 0)


def parse_func(wire: Any, path: str = "function") -> FuncType:
    """Raises `PeerMisbehaved` with the path of what is wrong."""
    _check(isinstance(wire, dict) and wire.keys() == {"params", "result"}, path, "a map with params and result")
    params = tuple(
        (name, _parse_type(of, f"{path}.params.{name}", 0)) for name, of in _pairs(wire["params"], f"{path}.params")
    )
    return FuncType(params, _parse_optional(wire["result"], f"{path}.result", 0))


def parse_interface(wire: Any) -> InterfaceType:
    """Raises `PeerMisbehaved` with the path of what is wrong."""
    path = "interface"
    _check(
        isinstance(wire, dict) and wire.keys() == {"name", "functions", "resources"},
        path,
        "a map with name, functions and resources",
    )
    _check(isinstance(wire["name"], str), f"{path}.name", "text")
    functions = wire["functions"]
    _check(
        isinstance(functions, dict)
        and len(functions) <= MAX_PARTS
        and all(isinstance(name, str) for name in functions),
        f"{path}.functions",
        "a map by name",
    )
    return InterfaceType(
        wire["name"],
        {name: parse_func(of, f"{path}.functions.{name}") for name, of in functions.items()},
        _names(wire["resources"], f"{path}.resources"),
    )


def differences(wanted: InterfaceType, offered: InterfaceType) -> list[str]:
    """What of `wanted` is not met by `offered`, one sentence each; empty if `offered` can stand in.

    Names of parameters may differ; functions that nobody asks for may be there.
    """
    found: list[str] = []
    for name, want in wanted.functions.items():
        have = offered.functions.get(name)
        if have is None:
            found.append(f"`{name}` is asked for and not offered.")
        elif len(want.params) != len(have.params):
            found.append(f"`{name}` is asked for as `{func_text(want)}` and offered as `{func_text(have)}`.")
        else:
            for (param, ours), (_, theirs) in zip(want.params, have.params, strict=True):
                if ours != theirs:
                    found.append(_difference(f"parameter `{param}` of `{name}`", ours, theirs))
            if want.result != have.result:
                found.append(_difference(f"the result of `{name}`", want.result, have.result))
    return found


def _difference(what: str, ours: WitType | None, theirs: WitType | None) -> str:
    place = _first_difference(ours, theirs) if ours is not None and theirs is not None else ""
    where = f" (first difference at {place})" if place else ""
    return f"{what[0].upper()}{what[1:]} is `{_text(ours)}` where asked for and `{_text(theirs)}` where offered{where}."


def _text(type: WitType | None) -> str:
    return "nothing" if type is None else type_text(type)


def _first_difference(ours: WitType, theirs: WitType) -> str:
    """Path of the first place where two types differ; empty if that is the top."""
    for (part, mine), (_, other) in zip(_children(ours), _children(theirs), strict=False):
        if mine != other and type(ours) is type(theirs) and len(_children(ours)) == len(_children(theirs)):
            return part + (_first_difference(mine, other) if mine is not None and other is not None else "")
    return ""


def _children(type: WitType) -> list[tuple[str, WitType | None]]:
    match type:
        case ListType(element=inner) | Option(some=inner):
            return [("[]" if isinstance(type, ListType) else "", inner)]
        case Result():
            return [(".ok", type.ok), (".err", type.err)]
        case Tuple():
            return [(f"[{index}]", item) for index, item in enumerate(type.items)]
        case Record():
            return [(f".{name}", of) for name, of in type.fields]
        case Variant():
            return [(f".{name}", of) for name, of in type.cases]
        case _:
            return []


def _describe_optional(type: WitType | None) -> Any:
    return None if type is None else describe_type(type)


def _parse_optional(wire: Any, path: str, depth: int) -> WitType | None:
    return None if wire is None else _parse_type(wire, path, depth)


def _parse_type(wire: Any, path: str, depth: int) -> WitType:
    _check(depth <= MAX_DEPTH, path, f"at most {MAX_DEPTH} levels")
    if isinstance(wire, str):
        if wire == "stream":
            return Stream()
        _check(wire in _PRIMITIVES, path, "a WIT type")
        return _PRIMITIVES[wire]
    _check(isinstance(wire, dict) and len(wire) == 1, path, "a type name, or a map with one entry")
    [(kind, body)] = wire.items()
    _check(kind in _PARSERS, path, f"one of {', '.join(_PARSERS)}")
    return _PARSERS[kind](body, f"{path}.{kind}", depth + 1)


def _parse_result(body: Any, path: str, depth: int) -> WitType:
    _check(isinstance(body, dict) and body.keys() == {"ok", "err"}, path, "a map with ok and err")
    return Result(_parse_optional(body["ok"], f"{path}.ok", depth), _parse_optional(body["err"], f"{path}.err", depth))


def _parse_tuple(body: Any, path: str, depth: int) -> WitType:
    _check(isinstance(body, list) and len(body) <= MAX_PARTS, path, "an array of types")
    return Tuple(tuple(_parse_type(item, f"{path}[{index}]", depth) for index, item in enumerate(body)))


def _parse_record(body: Any, path: str, depth: int) -> WitType:
    return Record(tuple((name, _parse_type(of, f"{path}.{name}", depth)) for name, of in _pairs(body, path)))


def _parse_variant(body: Any, path: str, depth: int) -> WitType:
    return Variant(tuple((name, _parse_optional(of, f"{path}.{name}", depth)) for name, of in _pairs(body, path)))


def _parse_resource(body: Any, path: str) -> ResourceId:
    names = _names(body, path)
    _check(len(names) == 2, path, "the interface and the name of a resource")
    return ResourceId(names[0], names[1])


_PRIMITIVES: Mapping[str, Primitive] = {primitive.value: primitive for primitive in Primitive}
_PARSERS: Mapping[str, Callable[[Any, str, int], WitType]] = {
    "list": lambda body, path, depth: ListType(_parse_type(body, path, depth)),
    "option": lambda body, path, depth: Option(_parse_type(body, path, depth)),
    "result": _parse_result,
    "tuple": _parse_tuple,
    "record": _parse_record,
    "variant": _parse_variant,
    "enum": lambda body, path, depth: Enum(_names(body, path)),
    "flags": lambda body, path, depth: Flags(_names(body, path)),
    "own": lambda body, path, depth: Own(_parse_resource(body, path)),
    "borrow": lambda body, path, depth: Borrow(_parse_resource(body, path)),
}


def _pairs(wire: Any, path: str) -> list[tuple[str, Any]]:
    _check(isinstance(wire, list) and len(wire) <= MAX_PARTS, path, "an array of [name, type]")
    for pair in wire:
        _check(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str), path, "pairs of name and type")
    return [(name, of) for name, of in wire]


def _names(wire: Any, path: str) -> tuple[str, ...]:
    right = isinstance(wire, list) and len(wire) <= MAX_PARTS and all(isinstance(name, str) for name in wire)
    _check(right, path, "an array of names")
    return tuple(wire)


def _check(right: bool, path: str, expected: str) -> None:
    if not right:
        raise PeerMisbehaved(f"A type description is wrong at {path[:200]}: expected {expected}.", path=path[:200])
