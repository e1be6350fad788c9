"""From Python annotations to WIT types and converters, once per function.

The laws of this file: a type that WIT cannot say is refused when the provider is defined, naming the place;
values that go out are checked, because they come from hand-written code; values that come in are not, because
whoever decoded them knew their type.
"""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from trellis_lattice.errors import ConfigError
from trellis_lattice.streams import ByteStream
from trellis_lattice.wit import types as wit
from trellis_lattice.wit.values import Err, Ok, Some

from . import convert
from .convert import Convert
from .kebab import kebab
from .wit_types import OWNED, NamedResource, Resource, VariantCase

__all__ = ["Codec", "Scope", "codec_of", "hints_of", "resource_id"]

_PLAIN: Mapping[object, wit.Primitive] = {
    str: wit.Primitive.STRING,
    bool: wit.Primitive.BOOL,
    int: wit.Primitive.S64,
    float: wit.Primitive.F64,
}


@dataclass(frozen=True, slots=True)
class Codec:
    """How one annotation looks in WIT. `None` as converter: the value is the same on both sides."""

    type: wit.WitType
    from_wit: Convert | None
    to_wit: Convert


@dataclass(slots=True)
class Scope:
    """Where an annotation stands. `interface`: unversioned, defines resources that name no other.

    `made` is told every resource that goes out;
    `resources` collects the resource classes that were met; `position` is `param` or `result`.
    """

    interface: str
    made: Callable[[Resource], None]
    resources: dict[wit.ResourceId, type[Resource] | type[NamedResource]]
    position: Literal["param", "result"] = "param"


def hints_of(item: Any, where: str) -> dict[str, Any]:
    """The resolved annotations of a function or class. Raises `ConfigError` naming what cannot be resolved."""
    try:
        return get_type_hints(item, include_extras=True)
    except NameError as error:
        raise ConfigError(
            f"An annotation of {where} cannot be resolved: {error}.", remedy="Define its type at the top of a module."
        ) from None


def codec_of(annotation: Any, where: str, scope: Scope) -> Codec:
    """The codec of one annotation. Raises `ConfigError` for what WIT cannot say, naming `where`."""
    if annotation in _PLAIN if isinstance(annotation, type) else False:
        return _primitive(_PLAIN[annotation], where)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _annotated(annotation, where, scope)
    if origin in (Union, types.UnionType):
        return _union(get_args(annotation), where, scope)
    if origin is Literal:
        return _literal(get_args(annotation), where)
    if origin in (list, Sequence):
        return _list(get_args(annotation)[0], where, scope)
    if origin is tuple:
        return _tuple(get_args(annotation), where, scope)
    if origin in (Ok, Err) or annotation in (Ok, Err):
        return _result((annotation,), where, scope)
    if supertype := getattr(annotation, "__supertype__", None):
        return codec_of(supertype, where, scope)
    if annotation is ByteStream:
        return Codec(wit.Stream(), None, convert.stream(where))
    if isinstance(annotation, type):
        return _class(annotation, where, scope)
    raise _refused(annotation, where)


def _class(cls: type[Any], where: str, scope: Scope) -> Codec:
    if cls is bytes:
        return Codec(wit.ListType(wit.Primitive.U8), None, convert.octets(where))
    if issubclass(cls, enum.Flag):
        labels = {member: kebab(str(member.name)) for member in cls}
        return Codec(wit.Flags(tuple(labels.values())), convert.flags_in(cls, labels), convert.flags_out(labels, where))
    if issubclass(cls, enum.Enum):
        names = {member: kebab(member.name) for member in cls}
        return _enum(names, where)
    if issubclass(cls, VariantCase):
        return _variant((cls,), where, scope)
    if issubclass(cls, NamedResource | Resource):
        return _resource(cls, where, scope)
    if dataclasses.is_dataclass(cls):
        return _record(cls, where, scope)
    raise _refused(cls, where)


def _primitive(primitive: wit.Primitive, where: str) -> Codec:
    return Codec(primitive, None, convert.primitive(primitive, where))


def _annotated(annotation: Any, where: str, scope: Scope) -> Codec:
    base, *marks = get_args(annotation)
    for mark in marks:
        if isinstance(mark, wit.Primitive):
            return _primitive(mark, where)
        if mark == OWNED:
            codec = codec_of(base, where, scope)
            kind = codec.type
            return dataclasses.replace(codec, type=wit.Own(kind.resource)) if isinstance(kind, wit.Borrow) else codec
    return codec_of(base, where, scope)


def _literal(values: tuple[Any, ...], where: str) -> Codec:
    if not all(isinstance(value, str) for value in values):
        raise _refused(Literal[values], where)
    return Codec(wit.Enum(values), None, convert.member_of(values, where))


def _enum(names: Mapping[Any, str], where: str) -> Codec:
    members = {name: member for member, name in names.items()}
    return Codec(wit.Enum(tuple(members)), members.__getitem__, convert.enum_out(names, where))


def _list(item: Any, where: str, scope: Scope) -> Codec:
    element = codec_of(item, f"{where}[]", scope)
    if element.type is wit.Primitive.U8:
        return Codec(wit.ListType(element.type), list, convert.octets(where))
    return Codec(wit.ListType(element.type), convert.list_in(element.from_wit), convert.list_out(element.to_wit, where))


def _tuple(items: tuple[Any, ...], where: str, scope: Scope) -> Codec:
    if Ellipsis in items or not items:
        raise _refused(tuple, where)
    parts = [codec_of(item, f"{where}.{index}", scope) for index, item in enumerate(items)]
    return Codec(
        wit.Tuple(tuple(part.type for part in parts)),
        convert.tuple_in([part.from_wit for part in parts]),
        convert.tuple_out([part.to_wit for part in parts], where),
    )


def _union(members: tuple[Any, ...], where: str, scope: Scope) -> Codec:
    present = tuple(member for member in members if member is not types.NoneType)
    if len(present) < len(members):
        return _option(present, where, scope)
    origins = {get_origin(member) or member for member in members}
    if origins <= {Ok, Err}:
        return _result(members, where, scope)
    if all(isinstance(member, type) and issubclass(member, VariantCase) for member in members):
        return _variant(members, where, scope)
    raise _refused(" | ".join(str(member) for member in members), where)


def _option(present: tuple[Any, ...], where: str, scope: Scope) -> Codec:
    if len(present) == 1 and get_origin(present[0]) is Some:
        inner = codec_of(get_args(present[0])[0], where, scope)
        nested = isinstance(inner.type, wit.Option)
        return Codec(
            wit.Option(inner.type),
            convert.some_in(inner.from_wit, nested),
            convert.some_out(inner.to_wit, nested, where),
        )
    inner = codec_of(present[0], where, scope) if len(present) == 1 else _union(present, where, scope)
    if isinstance(inner.type, wit.Option):
        raise ConfigError(f"{where} is an option of an option.", remedy="Write it as Some[T | None] | None.")
    return Codec(wit.Option(inner.type), convert.option_in(inner.from_wit), convert.option_out(inner.to_wit))


def _result(members: tuple[Any, ...], where: str, scope: Scope) -> Codec:
    sides: dict[Any, Codec | None] = {Ok: None, Err: None}
    for member in members:
        side = get_origin(member) or member
        payload = (*get_args(member), types.NoneType)[0]
        if payload not in (None, types.NoneType):
            sides[side] = codec_of(payload, f"{where}.{side.__name__.lower()}", scope)
    ok, err = sides[Ok], sides[Err]
    return Codec(
        wit.Result(ok.type if ok else None, err.type if err else None),
        convert.result_in(ok.from_wit if ok else None, err.from_wit if err else None),
        convert.result_out(ok.to_wit if ok else None, err.to_wit if err else None, where),
    )


def _fields(cls: type[Any], where: str, scope: Scope) -> list[tuple[str, str, Codec]]:
    hints = hints_of(cls, f"{where} ({cls.__name__})")
    return [
        (field.name, kebab(field.name), codec_of(hints[field.name], f"{where}.{field.name}", scope))
        for field in dataclasses.fields(cls)
    ]


def _record(cls: type[Any], where: str, scope: Scope) -> Codec:
    if where.count(".") > _MAX_DEPTH:
        raise ConfigError(f"The type {cls.__name__} contains itself (at {where[:80]}), which WIT cannot say.")
    fields = _fields(cls, where, scope)
    if not fields:
        raise ConfigError(f"The record {cls.__name__} at {where} has no fields, which WIT cannot say.")
    return Codec(
        wit.Record(tuple((name, codec.type) for _, name, codec in fields)),
        convert.record_in(cls, [(python, name, codec.from_wit) for python, name, codec in fields]),
        convert.record_out(cls, [(python, name, codec.to_wit) for python, name, codec in fields], where),
    )


_MAX_DEPTH = 32


def _variant(members: tuple[type[VariantCase], ...], where: str, scope: Scope) -> Codec:
    cases: list[tuple[str, type[VariantCase], Codec | None]] = []
    for cls in members:
        hints = hints_of(cls, f"{where} ({cls.__name__})")
        if set(hints) - {"value"}:
            raise ConfigError(
                f"The case {cls.__name__} at {where} has other fields than `value`.",
                remedy="Give it one field `value`, of a record type if it carries more.",
            )
        payload = codec_of(hints["value"], f"{where}.{kebab(cls.__name__)}", scope) if hints else None
        cases.append((kebab(cls.__name__), cls, payload))
    return Codec(
        wit.Variant(tuple((name, codec.type if codec else None) for name, _, codec in cases)),
        convert.variant_in({name: (cls, codec.from_wit if codec else None, codec) for name, cls, codec in cases}),
        convert.variant_out({cls: (name, codec.to_wit if codec else None) for name, cls, codec in cases}, where),
    )


def resource_id(cls: type[Resource] | type[NamedResource], interface: str) -> wit.ResourceId:
    """Which WIT resource a class is, when met in `interface` (unversioned)."""
    return wit.ResourceId(cls.wit_interface or interface, cls.wit_name or kebab(cls.__name__))


def _resource(cls: type[Resource] | type[NamedResource], where: str, scope: Scope) -> Codec:
    id = resource_id(cls, scope.interface)
    scope.resources[id] = cls
    type = wit.Borrow(id) if scope.position == "param" else wit.Own(id)
    if issubclass(cls, NamedResource):
        return Codec(type, convert.named_in(cls, str(id)), convert.named_out(cls, str(id), where))
    return Codec(type, convert.resource_in(cls, str(id)), convert.resource_out(cls, scope.made, where))


def _refused(annotation: Any, where: str) -> ConfigError:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return ConfigError(
        f"{where} is annotated {text}, which has no WIT type.",
        remedy="docs/providers.md lists the annotations a provider may use.",
    )
