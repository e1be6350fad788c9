"""What a command answers: a listing or a report, and how each looks in each format.

JSON is one document with `success`, its keys in the order in which the command gives them and always the same
ones; YAML is the same document; `jsonl` is one line for each item; `name` only the names, for use in a shell.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align

__all__ = ["Column", "Document", "Format", "Listing", "Report", "render"]


class Format(enum.StrEnum):
    """Values of `-o/--output`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    NAME = "name"

    @property
    def for_people(self) -> bool:
        return self in (Format.TABLE, Format.WIDE)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a listing. `wide`: only shown with `-o wide`; `narrow`: only without."""

    title: str
    wide: bool = False
    narrow: bool = False
    right: bool = False
    state: bool = False
    """Holds status words, which are coloured."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Many things of one kind. Each row has a cell for each column; `items` are the same things as data."""

    key: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    items: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    empty: str = "Nothing found."


@dataclass(frozen=True, slots=True)
class Report:
    """One answer: `data` for programs, `text` for people (empty: nothing on standard output), `names` for shells."""

    data: Mapping[str, Any]
    text: str = ""
    names: Sequence[str] = field(default=())


Document: TypeAlias = Listing | Report


def render(document: Document, format: Format, style: Style = PLAIN, *, success: bool = True) -> str:
    """The text for standard output, ending with a line break unless it is empty."""
    match format:
        case Format.TABLE | Format.WIDE:
            text = document.text if isinstance(document, Report) else _table(document, format is Format.WIDE, style)
        case Format.NAME:
            text = "".join(f"{clean(name)}\n" for name in document.names)
        case Format.JSONL:
            items = document.items if isinstance(document, Listing) else [_data(document, success)]
            text = "".join(_json(item, None) + "\n" for item in items)
        case Format.JSON:
            text = _json(_data(document, success), 2)
        case Format.YAML:
            text = _yaml(_data(document, success))
    return text if not text or text.endswith("\n") else text + "\n"


def _data(document: Document, success: bool) -> dict[str, Any]:
    if isinstance(document, Listing):
        return {"success": success, document.key: list(document.items)}
    return {"success": success, **document.data}


def _table(listing: Listing, wide: bool, style: Style) -> str:
    if not listing.rows:
        return ""
    shown = [i for i, column in enumerate(listing.columns) if not (column.narrow if wide else column.wide)]
    columns = [listing.columns[i] for i in shown]
    rows = [[column.title.upper() for column in columns], *([row[i] for i in shown] for row in listing.rows)]

    def paint(row: int, column: int, text: str) -> str:
        if row == 0:
            return style.bold(text)
        return style.state(text) if columns[column].state else text

    return align(rows, right=frozenset(i for i, column in enumerate(columns) if column.right), paint=paint)


def _json(data: object, indent: int | None) -> str:
    return json.dumps(data, indent=indent, ensure_ascii=False, default=str)


def _yaml(data: object) -> str:
    import yaml

    text: str = yaml.safe_dump(json.loads(_json(data, None)), sort_keys=False, allow_unicode=True)
    return text
