"""What a campaign has measured, and whether it is within its bounds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.result import Result

__all__ = ["OUTPUT", "table", "write"]

OUTPUT = Path(__file__).with_name("results.json")
"""Ignored by git: figures belong to the machine they were measured on."""


def table(results: Sequence[Result]) -> str:
    """One line for each figure, those out of bounds marked NO."""
    rows = [("", "what", "value", "unit", "bound")]
    rows += [
        ("" if not r.bound else "ok" if r.ok else "NO", r.name, f"{r.as_json()['value']:g}", r.unit, r.bound)
        for r in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(c.rjust(w) if i == 2 else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


def write(results: Sequence[Result]) -> None:
    OUTPUT.write_text(json.dumps([result.as_json() for result in results], indent=2, ensure_ascii=False) + "\n")
