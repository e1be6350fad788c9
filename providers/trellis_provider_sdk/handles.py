"""Converters between resources of this provider instance and the handles that stand for them."""

from __future__ import annotations

import asyncio
from typing import Any

from trellis_lattice.errors import RequestInvalid
from trellis_lattice.invocation.api import Handle

from .convert import Convert, wrong
from .provider import current_call
from .resources import Resources
from .wit_types import Resource

__all__ = ["Handles"]


class Handles:
    """See `reflect.ResourceCodec`. A handle lives as long as the deadline of the call that used it last."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def from_handle(self, type: str) -> Convert:
        def convert(value: Any) -> Resource:
            if not isinstance(value, Handle):
                raise RequestInvalid(f"Expected a handle of {type}, got {value.__class__.__name__}.")
            return self._resources.get(value, type, _now(), current_call().deadline)

        return convert

    def to_handle(self, cls: type[Resource], type: str) -> Convert:
        def convert(value: Any) -> Handle:
            if not isinstance(value, cls):
                wrong(type, cls.__name__, value)
            return self._resources.put(value, type, _now(), current_call().deadline)

        return convert


def _now() -> float:
    return asyncio.get_running_loop().time()
