"""What a provider's annotations may say beyond plain Python types.

str, bool, bytes           string, bool, list<u8>
int                        s64; u8 … u64, s8 … s64 say it exactly
float                      f64; f32 says it exactly
char                       one Unicode scalar value
list[T], tuple[A, B]       list<T>, tuple<A, B>
T | None                   option<T>; nested: Some[T | None] | None
a dataclass                record, `max_size` → `max-size`
enum.Enum, Literal["a"]    enum; member names in kebab-case
enum.Flag                  flags
A | B of VariantCase       variant; the class name is the case, a field `value` its payload
Ok[T] | Err[E]             result<T, E>; Ok[None] for no payload
NamedResource              a resource that is only a name; stateless, any provider instance answers for it
Resource                   a resource that lives in this provider instance
ByteStream                 a stream of bytes of any length
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeAlias, TypeVar

from trellis_lattice.wit.types import Primitive

__all__ = [
    "OWNED",
    "NamedResource",
    "Owned",
    "Resource",
    "VariantCase",
    "char",
    "f32",
    "f64",
    "s8",
    "s16",
    "s32",
    "s64",
    "u8",
    "u16",
    "u32",
    "u64",
]

T = TypeVar("T")

u8: TypeAlias = Annotated[int, Primitive.U8]
u16: TypeAlias = Annotated[int, Primitive.U16]
u32: TypeAlias = Annotated[int, Primitive.U32]
u64: TypeAlias = Annotated[int, Primitive.U64]
s8: TypeAlias = Annotated[int, Primitive.S8]
s16: TypeAlias = Annotated[int, Primitive.S16]
s32: TypeAlias = Annotated[int, Primitive.S32]
s64: TypeAlias = Annotated[int, Primitive.S64]
f32: TypeAlias = Annotated[float, Primitive.F32]
f64: TypeAlias = Annotated[float, Primitive.F64]
char: TypeAlias = Annotated[str, Primitive.CHAR]

OWNED: Final = "own"
Owned: TypeAlias = Annotated[T, OWNED]
"""A resource parameter that the caller gives away. Without it a parameter is borrowed; results are always owned."""


class VariantCase:
    """Base of the cases of a variant: `class Other(VariantCase)` with a field `value` is `other(T)`, without: `other`.

    Each case is a frozen dataclass; a case without payload needs no decorator. Two cases are equal if their
    class and payload are.
    """

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and getattr(other, "value", None) == getattr(self, "value", None)

    def __hash__(self) -> int:
        return hash((type(self), getattr(self, "value", None)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})" if hasattr(self, "value") else f"{type(self).__name__}()"


class _NamedInWit:
    """Where a resource is defined: `interface` (unversioned; None: the interface of the function that uses it)."""

    wit_interface: ClassVar[str | None] = None
    wit_name: ClassVar[str | None] = None

    def __init_subclass__(cls, *, interface: str | None = None, name: str | None = None) -> None:
        super().__init_subclass__()
        if interface is not None:
            cls.wit_interface = interface.partition("@")[0]
        if name is not None:
            cls.wit_name = name


@dataclass(frozen=True)
class NamedResource(_NamedInWit):
    """A resource that is only its name, such as a key-value bucket. It travels as that name with every call."""

    name: str


class Resource(_NamedInWit):
    """A resource that lives in one provider instance. Its public async methods are its WIT methods.

    `close` runs when the caller drops it, when the caller's invocation ends, or when the provider stops.
    """

    async def close(self) -> None:
        """Releases what the resource holds. Runs once."""
