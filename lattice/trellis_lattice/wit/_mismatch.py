"""What is wrong with a value, and where in it; and the count of bytes that bounds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_BYTES", "Mismatch", "Pass", "TooManyBytes"]

MAX_BYTES = 2 * 1024 * 1024
"""Most bytes of `list<u8>` in one argument or result."""


class Mismatch(Exception):
    """A value that its type does not allow. `path` grows while it passes the containers, outermost first."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = describe(found)
        self.path = ""

    def below(self, part: str) -> None:
        self.path = part + self.path


class TooManyBytes(Mismatch):
    def __init__(self, size: int) -> None:
        super().__init__(f"at most {MAX_BYTES} bytes", None)
        self.size = size


class Pass:
    """State of one top-level value's way through the closures."""

    __slots__ = ("crossing", "octets")

    def __init__(self, crossing: Any) -> None:
        self.crossing = crossing
        self.octets = 0

    def count(self, size: int) -> None:
        self.octets += size
        if self.octets > MAX_BYTES:
            raise TooManyBytes(self.octets)


def describe(value: object) -> str:
    """A wrong value in a few words."""
    if value is None:
        return "nothing"
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, bool | int | float | str):
        text = repr(value[:40] + "…" if isinstance(value, str) and len(value) > 40 else value)
        return f"{type(value).__name__} {text[:60]}"
    if isinstance(value, Mapping):
        return f"a map with {len(value)} entries"
    if isinstance(value, list | tuple):
        return f"an array of {len(value)}"
    return type(value).__name__
