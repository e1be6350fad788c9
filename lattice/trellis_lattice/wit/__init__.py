"""WIT types and values: the one model that engine, wire, providers and CLI share."""

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
from trellis_lattice.wit.values import Case, Err, Ok, Some

__all__ = [
    "Borrow",
    "Case",
    "Enum",
    "Err",
    "Flags",
    "FuncType",
    "InterfaceType",
    "ListType",
    "Ok",
    "Option",
    "Own",
    "Primitive",
    "Record",
    "ResourceId",
    "Result",
    "Some",
    "Stream",
    "Tuple",
    "Variant",
    "WitType",
]
