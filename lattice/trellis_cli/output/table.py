"""Text tables without borders, columns sized to their contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trellis_cli.output.style import clean, width

__all__ = ["align"]

_GAP = "   "


def align(
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    paint: Callable[[int, int, str], str] | None = None,
) -> str:
    """The rows as lines, each cell padded to its column; no trailing blanks; ends with a line break.

    `right`: columns that are flush right. `paint(row, column, text)` may add colour after the width is known.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(width(row[column]) for row in cells) for column in range(len(cells[0]))] if cells else []
    lines = []
    for number, row in enumerate(cells):
        parts = []
        for column, cell in enumerate(row):
            blanks = " " * (widths[column] - width(cell))
            shown = paint(number, column, cell) if paint else cell
            parts.append(blanks + shown if column in right else shown + blanks)
        lines.append(_GAP.join(parts).rstrip())
    return "".join(f"{line}\n" for line in lines)
