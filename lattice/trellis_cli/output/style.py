"""Colours, and what keeps foreign text from driving the terminal."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

__all__ = ["PLAIN", "Style", "clean", "width"]


@dataclass(frozen=True, slots=True)
class Style:
    """ANSI colours, or none. Every method returns its text unchanged when colours are off."""

    enabled: bool = False

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def red(self, text: str) -> str:
        return self._wrap("31", text)

    def green(self, text: str) -> str:
        return self._wrap("32", text)

    def yellow(self, text: str) -> str:
        return self._wrap("33", text)

    def state(self, word: str) -> str:
        """A status word in the colour of how good it is."""
        lowered = word.lower()
        if lowered in ("deployed", "ready", "running", "up", "valid"):
            return self.green(word)
        if lowered in ("failed", "down", "lost", "error", "unhealthy"):
            return self.red(word)
        if lowered in ("reconciling", "waiting", "starting", "stopping", "draining", "warning"):
            return self.yellow(word)
        return word

    def _wrap(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.enabled and text else text


PLAIN = Style(False)


def clean(text: str, *, keep_lines: bool = False) -> str:
    """`text` without control characters; line breaks and tabs become spaces unless `keep_lines`."""
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if keep_lines else ""
    return "".join(c if c in kept or not _controls(c) else (" " if c in "\n\t\r" else "�") for c in text)


def _controls(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")


def width(text: str) -> int:
    """Terminal columns that `text` takes; it holds no control characters."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    marks = sum(unicodedata.combining(c) != 0 for c in text)
    return len(text) + wide - marks
