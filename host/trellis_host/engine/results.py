"""Results of host functions as component values.

wasmtime takes them over and frees them, so they must come from its allocator. Simple shapes are written at once;
others are built in the space and cloned by wasmtime, so that a wrong value deep inside leaves nothing behind.
"""

from __future__ import annotations

from typing import Any

from trellis_host.engine import ffi
from trellis_host.engine.lower import BoundResource, Resources, lowerer
from trellis_host.engine.mismatch import ValueMismatch
from trellis_host.engine.scalars import Lower
from trellis_host.engine.space import SCRATCH, Space
from trellis_lattice.wit.types import Option, Own, Primitive, Result, WitType
from trellis_lattice.wit.values import Ok

__all__ = ["result_lowerer"]

WORDS = ffi.WORDS


def result_lowerer(type: WitType | None, resources: Resources) -> Lower:
    """The function that writes the result of a host function where wasmtime takes it over."""
    if type is None:
        return _lower_nothing
    if _is_flat(type):
        return lowerer(type, resources)
    if isinstance(type, Own):
        return _direct_own(resources[type.resource])
    general = _cloned(lowerer(type, resources))
    if isinstance(type, Result):
        return _direct_result(type, resources, general)
    if isinstance(type, Option) and not isinstance(type.some, Option):
        return _direct_option(type, resources, general)
    return general


def _is_flat(type: WitType | None) -> bool:
    """Whether values of the type are complete in their 4 words."""
    return type is None or (isinstance(type, Primitive) and type is not Primitive.STRING)


def _lower_nothing(space: Space, index: int, value: Any) -> None:
    pass


def _direct_own(bound: BoundResource) -> Lower:
    resource, number = bound

    def lower(space: Space, index: int, value: Any) -> None:
        WORDS[index + 1] = space.new_handle(value, resource, number)
        WORDS[index] = ffi.RESOURCE

    return lower


def _cloned(lower_inside: Lower) -> Lower:
    def lower(space: Space, index: int, value: Any) -> None:
        mark = space.mark()
        try:
            address = space.take(ffi.VALUE_BYTES)
            lower_inside(space, address >> 3, value)
            ffi.val_clone(address, index << 3)
            space.settle()
        except BaseException:
            space.undo()
            raise
        finally:
            space.rewind(mark)

    return lower


def _direct_result(type: Result, resources: Resources, general: Lower) -> Lower:
    """A result whose good side is nothing, flat or a handle needs no clone."""
    ok = type.ok
    if not (_is_flat(ok) or isinstance(ok, Own)):
        return general
    lower_ok = None if ok is None else result_lowerer(ok, resources)

    def lower(space: Space, index: int, value: Any) -> None:
        if value.__class__ is not Ok:
            return general(space, index, value)
        if lower_ok is None:
            if value.value is not None:
                return general(space, index, value)
            WORDS[index + 2] = 0
        else:
            scratch = space.base + SCRATCH
            try:
                lower_ok(space, scratch, value.value)
            except ValueMismatch as mismatch:
                raise mismatch.under(".ok") from None
            WORDS[index + 2] = ffi.val_new(scratch << 3)
        WORDS[index + 1] = 1
        WORDS[index] = ffi.RESULT
        return None

    return lower


def _direct_option(type: Option, resources: Resources, general: Lower) -> Lower:
    def lower(space: Space, index: int, value: Any) -> None:
        if value is None:
            WORDS[index + 1] = 0
            WORDS[index] = ffi.OPTION
        else:
            general(space, index, value)

    return lower
