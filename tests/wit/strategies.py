"""Hypothesis strategies: WIT types, and for a type the Python values it allows."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from trellis_lattice.invocation.api import Handle
from trellis_lattice.wit import (
    Borrow,
    Case,
    Enum,
    Err,
    Flags,
    ListType,
    Ok,
    Option,
    Own,
    Primitive,
    Record,
    ResourceId,
    Result,
    Some,
    Tuple,
    Variant,
    WitType,
)
from trellis_lattice.wit._compile import INTEGERS

NAMES = st.from_regex(r"[a-z]{1,4}(-[a-z]{1,3})?", fullmatch=True)
RESOURCES = st.sampled_from([ResourceId("wasi:keyvalue/store", "bucket"), ResourceId("", "thing")])


def _unique_names(least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(NAMES, min_size=least, max_size=4, unique=True)


def _leaves() -> st.SearchStrategy[WitType]:
    return st.one_of(
        st.sampled_from(Primitive),
        st.just(ListType(Primitive.U8)),
        _unique_names().map(lambda names: Enum(tuple(names))),
        _unique_names(0).map(lambda names: Flags(tuple(names))),
        RESOURCES.map(Own),
        RESOURCES.map(Borrow),
    )


def _compound(inner: st.SearchStrategy[WitType]) -> st.SearchStrategy[WitType]:
    maybe = st.none() | inner
    return st.one_of(
        inner.map(ListType),
        inner.map(Option),
        st.builds(Result, maybe, maybe),
        st.lists(inner, max_size=3).map(lambda items: Tuple(tuple(items))),
        _unique_names().flatmap(
            lambda names: st.tuples(*[inner for _ in names]).map(
                lambda types: Record(tuple(zip(names, types, strict=True)))
            )
        ),
        _unique_names().flatmap(
            lambda names: st.tuples(*[maybe for _ in names]).map(
                lambda types: Variant(tuple(zip(names, types, strict=True)))
            )
        ),
    )


TYPES: st.SearchStrategy[WitType] = st.recursive(_leaves(), _compound, max_leaves=6)


def values(type: WitType) -> st.SearchStrategy[Any]:
    """Valid Python values of a type."""
    match type:
        case Primitive.BOOL:
            return st.booleans()
        case Primitive.STRING:
            return st.text(max_size=8)
        case Primitive.CHAR:
            return st.characters(exclude_categories=["Cs"])
        case Primitive.F32:
            return st.floats(width=32)
        case Primitive.F64:
            return st.floats()
        case Primitive():
            low, high = INTEGERS[type]
            return st.integers(low, high)
        case ListType(element=Primitive.U8):
            return st.binary(max_size=16)
        case ListType():
            return st.lists(values(type.element), max_size=3)
        case Option(some=Option()):
            return st.none() | values(type.some).map(Some)
        case Option():
            return st.none() | values(type.some)
        case Result():
            return _payload(type.ok).map(Ok) | _payload(type.err).map(Err)
        case Tuple():
            return st.tuples(*[values(item) for item in type.items])
        case Record():
            return st.fixed_dictionaries({name: values(of) for name, of in type.fields})
        case Variant():
            return st.one_of([_payload(of).map(lambda value, name=name: Case(name, value)) for name, of in type.cases])
        case Enum():
            return st.sampled_from(type.names)
        case Flags():
            return st.frozensets(st.sampled_from(type.names)) if type.names else st.just(frozenset())
        case Own() | Borrow():
            return st.builds(Handle, st.text(max_size=4), st.text(max_size=4), st.just(str(type.resource)))
    raise AssertionError(type)


def _payload(type: WitType | None) -> st.SearchStrategy[Any]:
    return st.none() if type is None else values(type)


TYPED_VALUES = TYPES.flatmap(lambda type: st.tuples(st.just(type), values(type)))


def same(left: Any, right: Any) -> bool:
    """Equality of values where NaN equals NaN, and which kind of float or container it is counts."""
    if type(left) is not type(right):
        return False
    match left:
        case float():
            return left == right or (left != left and right != right)
        case dict():
            return left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
        case list() | tuple():
            return len(left) == len(right) and all(map(same, left, right))
        case Ok() | Err() | Some():
            return same(left.value, right.value)
        case _:
            return bool(left == right)


EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Enough to find what is wrong, few enough to be run all the time; never a question of speed."""
