"""Findings: what validation has to say about a manifest, with a place and a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Level", "Path", "errors", "path_text"]

Path = tuple[str | int, ...]
"""Keys and list positions from the root of a manifest: `("spec", "components", 0, "name")`."""


class Level(StrEnum):
    """`error` blocks a put, `warning` does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of validation.

    `code` is stable and made for machines; `path` is where in the manifest; `line` and `column` count from 1
    and are None where the manifest did not come as text.
    """

    level: Level
    code: str
    message: str
    path: Path = ()
    remedy: str | None = None
    line: int | None = None
    column: int | None = None
    document: int = 0
    """Position of the document within its file, from 0."""

    @property
    def where(self) -> str:
        """`line 12, column 7 (spec.components[0].name)`, as much of it as is known."""
        text = path_text(self.path)
        if self.line is None:
            return text
        place = f"line {self.line}, column {self.column}"
        return f"{place} ({text})" if text else place

    def __str__(self) -> str:
        place = path_text(self.path)
        where = f"line {self.line}, column {self.column}" if self.line is not None else place
        if where and where not in self.message:
            return f"{where}: {self.text}"
        return self.text

    @property
    def text(self) -> str:
        """Message and remedy, without the place."""
        return f"{self.message} {self.remedy}" if self.remedy else self.message

    def to_json(self) -> dict[str, Any]:
        """The form that `-o json` prints."""
        return {
            "level": str(self.level),
            "code": self.code,
            "path": path_text(self.path),
            "line": self.line,
            "column": self.column,
            "document": self.document,
            "message": self.message,
            "remedy": self.remedy,
        }


def path_text(path: Path) -> str:
    """`spec.components[0].name` for a path."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            parts.append(f".{step}" if parts else step)
    return "".join(parts)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those findings that block a put."""
    return [finding for finding in findings if finding.level is Level.ERROR]
