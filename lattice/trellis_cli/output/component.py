"""A component file, as people read it."""

from __future__ import annotations

from trellis_cli.output.style import clean
from trellis_cli.output.table import align

__all__ = ["component_text", "size_text"]


def component_text(file: str, size: int, digest: str, wit: str) -> str:
    """What the file is, then its world."""
    head = align([["file", file], ["size", f"{size_text(size)} ({size:,} bytes)"], ["digest", f"sha256:{digest}"]])
    return f"{head}\n{clean(wit, keep_lines=True)}\n"


def size_text(size: int) -> str:
    """`812 B`, `17.4 KiB`, `2.0 MiB`"""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
