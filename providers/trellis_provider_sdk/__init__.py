"""Everything needed to write a capability provider in Python (docs/providers.md)."""

from trellis_lattice.streams import ByteStream
from trellis_lattice.wit.values import Err, Ok, Some

from .declare import constructor, function, method, provides, static
from .listeners import BoundListeners, Listeners
from .provider import CurrentCall, Health, Provider, ProviderContext, ProviderLink, current_call
from .registry import find_provider, known_providers
from .runner import ProviderRunner, describe
from .wit_types import (
    NamedResource,
    Owned,
    Resource,
    VariantCase,
    char,
    f32,
    f64,
    s8,
    s16,
    s32,
    s64,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "BoundListeners",
    "ByteStream",
    "CurrentCall",
    "Err",
    "Health",
    "Listeners",
    "NamedResource",
    "Ok",
    "Owned",
    "Provider",
    "ProviderContext",
    "ProviderLink",
    "ProviderRunner",
    "Resource",
    "Some",
    "VariantCase",
    "char",
    "constructor",
    "current_call",
    "describe",
    "f32",
    "f64",
    "find_provider",
    "function",
    "known_providers",
    "method",
    "provides",
    "s8",
    "s16",
    "s32",
    "s64",
    "static",
    "u8",
    "u16",
    "u32",
    "u64",
]
