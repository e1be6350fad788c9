"""A Python value that is not of the WIT type it should be, and where inside the whole value it stands.

The path grows from the inside out, while the exception passes the converters:
`args.0.items[3].count: expected u32, got 'x'`.
"""

from __future__ import annotations

__all__ = ["Note", "ValueMismatch"]


class ValueMismatch(Exception):
    """A Python value that is not of the WIT type. `path` is collected from the inside out."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.got = got
        self.path: list[str] = []

    def under(self, step: str) -> ValueMismatch:
        self.path.append(step)
        return self

    def describe(self, root: str) -> str:
        got = self.got if isinstance(self.got, Note) else f"got {_short(self.got)}"
        return f"{root}{''.join(reversed(self.path))}: expected {self.expected}, {got}"


class Note(str):
    """A ready text instead of a value."""

    __slots__ = ()


def _short(value: object) -> str:
    text = repr(value) if len(str(type(value))) < 200 else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
