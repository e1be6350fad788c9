"""WIT types as plain data (the component model's value types, plus the lattice's byte stream).

The law of this file: types are structural and immutable; two types are the same if they compare equal.
Names inside (fields, cases, labels) are WIT names in kebab-case, exactly as the component spells them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "Borrow",
    "Enum",
    "Flags",
    "FuncType",
    "InterfaceType",
    "ListType",
    "Option",
    "Own",
    "Primitive",
    "Record",
    "ResourceId",
    "Result",
    "Stream",
    "Tuple",
    "Variant",
    "WitType",
    "resources_in",
]


class Primitive(enum.Enum):
    """Types without parts. The value is the WIT keyword."""

    BOOL = "bool"
    S8 = "s8"
    U8 = "u8"
    S16 = "s16"
    U16 = "u16"
    S32 = "s32"
    U32 = "u32"
    S64 = "s64"
    U64 = "u64"
    F32 = "f32"
    F64 = "f64"
    CHAR = "char"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class ListType:
    element: WitType


@dataclass(frozen=True, slots=True)
class Option:
    some: WitType


@dataclass(frozen=True, slots=True)
class Result:
    ok: WitType | None
    err: WitType | None


@dataclass(frozen=True, slots=True)
class Tuple:
    items: tuple[WitType, ...]


@dataclass(frozen=True, slots=True)
class Record:
    fields: tuple[tuple[str, WitType], ...]


@dataclass(frozen=True, slots=True)
class Variant:
    cases: tuple[tuple[str, WitType | None], ...]


@dataclass(frozen=True, slots=True)
class Enum:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flags:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResourceId:
    """Which resource a handle is of: the interface that defines it (unversioned; empty: the root) and its name."""

    interface: str
    name: str

    def __str__(self) -> str:
        return f"{self.interface}.{self.name}" if self.interface else self.name


@dataclass(frozen=True, slots=True)
class Own:
    resource: ResourceId


@dataclass(frozen=True, slots=True)
class Borrow:
    resource: ResourceId


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of bytes with optional trailers. Exists on the lattice, not in a component's WIT 0.2 types."""


WitType: TypeAlias = (
    Primitive | ListType | Option | Result | Tuple | Record | Variant | Enum | Flags | Own | Borrow | Stream
)


@dataclass(frozen=True, slots=True)
class FuncType:
    """Parameters in order, and the result (WIT functions have none or one)."""

    params: tuple[tuple[str, WitType], ...]
    result: WitType | None = None


@dataclass(frozen=True, slots=True)
class InterfaceType:
    """What one interface offers. `functions` are keyed by WIT name: `get`, `[method]bucket.get`, `[constructor]x`."""

    name: str
    functions: Mapping[str, FuncType]
    resources: tuple[str, ...] = field(default=())


def resources_in(type: WitType | None) -> Iterator[ResourceId]:
    """Every resource whose handles a value of the type may hold."""
    match type:
        case None | Primitive() | Enum() | Flags() | Stream():
            return
        case Own(resource) | Borrow(resource):
            yield resource
        case ListType(element):
            yield from resources_in(element)
        case Option(some):
            yield from resources_in(some)
        case Result(ok, err):
            yield from resources_in(ok)
            yield from resources_in(err)
        case Tuple(items):
            for item in items:
                yield from resources_in(item)
        case Record(fields):
            for _, part in fields:
                yield from resources_in(part)
        case Variant(cases):
            for _, payload in cases:
                yield from resources_in(payload)
