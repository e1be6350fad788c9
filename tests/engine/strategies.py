"""Random WIT types, and random values of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from trellis_lattice.wit.types import (
    Enum,
    Flags,
    ListType,
    Option,
    Primitive,
    Record,
    Result,
    Tuple,
    Variant,
    WitType,
)
from trellis_lattice.wit.values import Case, Err, Ok, Some

_RANGES = {
    Primitive.S8: (-(1 << 7), (1 << 7) - 1),
    Primitive.U8: (0, (1 << 8) - 1),
    Primitive.S16: (-(1 << 15), (1 << 15) - 1),
    Primitive.U16: (0, (1 << 16) - 1),
    Primitive.S32: (-(1 << 31), (1 << 31) - 1),
    Primitive.U32: (0, (1 << 32) - 1),
    Primitive.S64: (-(1 << 63), (1 << 63) - 1),
    Primitive.U64: (0, (1 << 64) - 1),
}


def names(count: int) -> tuple[str, ...]:
    return tuple(f"n{position}-name" for position in range(count))


def types() -> st.SearchStrategy[WitType]:
    leaves: st.SearchStrategy[WitType] = st.one_of(
        st.sampled_from(list(Primitive)),
        st.integers(1, 12).map(lambda count: Enum(names(count))),
        st.integers(1, 32).map(lambda count: Flags(names(count))),
    )
    return st.recursive(leaves, _extend, max_leaves=6)


def _extend(inner: st.SearchStrategy[WitType]) -> st.SearchStrategy[WitType]:
    maybe = st.none() | inner
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        inner.map(ListType),
        inner.map(Option),
        st.builds(Result, maybe, maybe),
        several.map(lambda items: Tuple(tuple(items))),
        several.map(lambda items: Record(tuple(zip(names(len(items)), items, strict=True)))),
        st.lists(maybe, min_size=1, max_size=3).map(
            lambda items: Variant(tuple(zip(names(len(items)), items, strict=True)))
        ),
    )


def values(type: WitType) -> st.SearchStrategy[Any]:
    match type:
        case Primitive.BOOL:
            return st.booleans()
        case Primitive.F32:
            return st.floats(width=32, allow_nan=False)
        case Primitive.F64:
            return st.floats(allow_nan=False)
        case Primitive.CHAR:
            return st.characters(exclude_categories=["Cs"])
        case Primitive.STRING:
            return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
        case Primitive():
            return st.integers(*_RANGES[type])
        case ListType(Primitive.U8):
            return st.binary(max_size=40)
        case ListType(element):
            return st.lists(values(element), max_size=4)
        case Option(Option() as some):
            return st.none() | values(some).map(Some)
        case Option(some):
            return st.none() | values(some)
        case Result(ok, err):
            return _maybe(ok).map(Ok) | _maybe(err).map(Err)
        case Tuple(items):
            return st.tuples(*map(values, items))
        case Record(fields):
            return st.fixed_dictionaries({name: values(field) for name, field in fields})
        case Variant(cases):
            return st.one_of([_maybe(payload).map(lambda v, n=name: Case(n, v)) for name, payload in cases])
        case Enum(labels):
            return st.sampled_from(labels)
        case Flags(labels):
            return st.frozensets(st.sampled_from(labels))
    raise AssertionError(type)


def _maybe(type: WitType | None) -> st.SearchStrategy[Any]:
    return st.none() if type is None else values(type)


def typed_values() -> st.SearchStrategy[tuple[WitType, list[Any]]]:
    return types().flatmap(lambda type: st.tuples(st.just(type), st.lists(values(type), max_size=4)))
