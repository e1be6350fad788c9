"""How a WIT value looks in Python; the same mapping everywhere (docs/protocol.md has the CBOR and JSON columns).

bool, integers, floats     bool, int, float
char, string               str
list<T>                    list; list<u8> is bytes
tuple<A, B>                tuple
record {a-b: T}            dict with WIT names: {"a-b": …}
variant                    Case("name", payload); Case("name") without payload
enum                       str, the WIT name
flags                      frozenset of WIT names
option<T>                  None or the value; where T is itself an option: None or Some(value)
result<T, E>               Ok(value) or Err(error)
own<R>, borrow<R>          in a host: the object itself; across the lattice: a Handle
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

__all__ = ["Case", "Err", "Ok", "Some"]

T_co = TypeVar("T_co", covariant=True)


class Case(NamedTuple):
    """One case of a variant."""

    name: str
    value: Any = None


class Ok(Generic[T_co]):
    """The good side of a result."""

    __match_args__ = ("value",)
    __slots__ = ("value",)

    def __init__(self, value: T_co = None) -> None:  # type: ignore[assignment]
        self.value = value

    def __repr__(self) -> str:
        return f"Ok({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ok) and self.value == other.value

    def __hash__(self) -> int:
        return hash((Ok, self.value))


class Err(Generic[T_co]):
    """The bad side of a result: an answer, not a failure of the call."""

    __match_args__ = ("value",)
    __slots__ = ("value",)

    def __init__(self, value: T_co = None) -> None:  # type: ignore[assignment]
        self.value = value

    def __repr__(self) -> str:
        return f"Err({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Err) and self.value == other.value

    def __hash__(self) -> int:
        return hash((Err, self.value))


class Some(Generic[T_co]):
    """A present option whose payload is itself an option."""

    __match_args__ = ("value",)
    __slots__ = ("value",)

    def __init__(self, value: T_co) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Some({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Some) and self.value == other.value

    def __hash__(self) -> int:
        return hash((Some, self.value))
