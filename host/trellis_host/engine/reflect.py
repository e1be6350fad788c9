"""A component's imports and exports as WIT-shaped types.

A resource is identified by the first name under which the component meets it (imports first): `wasi:http/types`
`headers` is `wasi:http/types.fields`, `io-error` there is `wasi:io/error.error`. So whoever implements an interface
defines each resource once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasmtime import component as wt

from trellis_lattice.errors import RequestInvalid
from trellis_lattice.wit import types as wit

__all__ = ["ComponentTypes", "reflect"]


@dataclass(frozen=True, slots=True)
class ComponentTypes:
    """Interfaces by full name with version; "" holds the functions of the root."""

    imports: Mapping[str, wit.InterfaceType]
    exports: Mapping[str, wit.InterfaceType]
    resources: Mapping[str, Mapping[str, wit.ResourceId]]
    """For each import: the resource names in it, and which resource each is."""


def reflect(component: wt.Component, engine: Any) -> ComponentTypes:
    """Reads the types of a compiled component. Raises `RequestInvalid` for what the host cannot serve."""
    type = component.type
    known = _Resources()
    resources: dict[str, dict[str, wit.ResourceId]] = {}
    imports = _side(type.imports(engine), engine, known, resources, "imports")
    exports = _side(type.exports(engine), engine, known, {}, "exports")
    return ComponentTypes(imports, exports, resources)


class _Resources:
    """Resource types met so far, compared by wasmtime's own equality."""

    def __init__(self) -> None:
        self._known: list[tuple[wt.ResourceType, wit.ResourceId]] = []

    def identify(self, type: wt.ResourceType, interface: str, name: str) -> wit.ResourceId:
        found = self._find(type)
        if found is None:
            found = wit.ResourceId(interface, name)
            self._known.append((type, found))
        return found

    def _find(self, type: wt.ResourceType) -> wit.ResourceId | None:
        for known, identity in reversed(self._known):
            if known == type:
                return identity
        return None

    def of(self, type: wt.ResourceType) -> wit.ResourceId:
        return self._find(type) or self.identify(type, "", f"resource-{len(self._known)}")


def _side(
    items: Mapping[str, Any],
    engine: Any,
    known: _Resources,
    resources: dict[str, dict[str, wit.ResourceId]],
    side: str,
) -> dict[str, wit.InterfaceType]:
    interfaces: dict[str, wit.InterfaceType] = {}
    root: dict[str, Any] = {}
    for name, item in items.items():
        type = item.ty
        if isinstance(type, wt.ComponentInstanceType):
            parts = {part: extern.ty for part, extern in type.exports(engine).items()}
            interfaces[name] = _interface(name, parts, known, resources)
        elif isinstance(type, wt.ComponentType | wt.ModuleType):
            raise RequestInvalid(
                f"The component {side} {name!r}, which is a whole component or core module.",
                remedy="Compose it with what it needs before it is started; a host can only supply interfaces.",
            )
        else:
            root[name] = type
    if any(isinstance(type, wt.FuncType | wt.ResourceType) for type in root.values()):
        interfaces[""] = _interface("", root, known, resources)
    return interfaces


def _interface(
    name: str, parts: Mapping[str, Any], known: _Resources, resources: dict[str, dict[str, wit.ResourceId]]
) -> wit.InterfaceType:
    unversioned = name.partition("@")[0]
    here = {
        part: known.identify(type, unversioned, part)
        for part, type in parts.items()
        if isinstance(type, wt.ResourceType)
    }
    if here:
        resources[name] = here
    functions = {
        part: _function(type, known, name, part) for part, type in parts.items() if isinstance(type, wt.FuncType)
    }
    return wit.InterfaceType(name=name, functions=functions, resources=tuple(here))


def _function(type: wt.FuncType, known: _Resources, interface: str, name: str) -> wit.FuncType:
    try:
        params = tuple((param, _value(value, known)) for param, value in type.params)
        result = type.result
        return wit.FuncType(params, None if result is None else _value(result, known))
    except _Unsupported as unsupported:
        raise RequestInvalid(
            f"Function {name} of {interface or 'the root'} uses {unsupported}, which belongs to WASI 0.3.",
            remedy="Build the component for WASI 0.2.",
        ) from None


class _Unsupported(Exception):
    pass


_PRIMITIVES: Mapping[type, wit.Primitive] = {
    wt.Bool: wit.Primitive.BOOL,
    wt.S8: wit.Primitive.S8,
    wt.U8: wit.Primitive.U8,
    wt.S16: wit.Primitive.S16,
    wt.U16: wit.Primitive.U16,
    wt.S32: wit.Primitive.S32,
    wt.U32: wit.Primitive.U32,
    wt.S64: wit.Primitive.S64,
    wt.U64: wit.Primitive.U64,
    wt.F32: wit.Primitive.F32,
    wt.F64: wit.Primitive.F64,
    wt.Char: wit.Primitive.CHAR,
    wt.String: wit.Primitive.STRING,
}


def _value(type: Any, known: _Resources) -> wit.WitType:
    primitive = _PRIMITIVES.get(type.__class__)
    if primitive is not None:
        return primitive
    match type:
        case wt.ListType():
            return wit.ListType(_value(type.element, known))
        case wt.OptionType():
            return wit.Option(_value(type.payload, known))
        case wt.ResultType():
            ok, err = type.ok, type.err
            return wit.Result(None if ok is None else _value(ok, known), None if err is None else _value(err, known))
        case wt.RecordType():
            return wit.Record(tuple((name, _value(field, known)) for name, field in type.fields))
        case wt.TupleType():
            return wit.Tuple(tuple(_value(item, known) for item in type.elements))
        case wt.VariantType():
            return wit.Variant(
                tuple((name, None if payload is None else _value(payload, known)) for name, payload in type.cases)
            )
        case wt.EnumType():
            return wit.Enum(tuple(type.names))
        case wt.FlagsType():
            return wit.Flags(tuple(type.names))
        case wt.OwnType():
            return wit.Own(known.of(type.ty))
        case wt.BorrowType():
            return wit.Borrow(known.of(type.ty))
    raise _Unsupported(f"type {type.__class__.__name__}")
