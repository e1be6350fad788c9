"""Where text goes: answers to standard output, everything else to standard error.

The laws of this file: standard output gets exactly one document; chatter, progress and colours go to standard
error; a spinner appears only if standard error is a terminal, in a pipe its text is one plain line; a passing line
never outlives the first thing that is said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from trellis_cli.output import Document, Format, Listing, Style, clean, render, render_failure
from trellis_lattice.errors import TrellisError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

__all__ = ["Progress", "Terminal"]


class Progress(Protocol):
    """What goes on at the moment."""

    def update(self, text: str) -> None:
        """Replaces the text."""

    def say(self, text: str) -> None:
        """A line that stays."""


class Terminal:
    """Writes the answer, notes, and progress of one command."""

    def __init__(
        self, format: Format, color: bool | None = None, out: TextIO | None = None, err: TextIO | None = None
    ) -> None:
        self.format = format
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self._asked = color
        self.out_style = Style(self._colored(self._out))
        self.style = Style(self._colored(self._err))
        self._spoken = self._passing = False

    @property
    def interactive(self) -> bool:
        """Whether somebody looks at standard error."""
        return self._err.isatty()

    @property
    def answers_people(self) -> bool:
        """Whether somebody looks at standard output."""
        return self._out.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def err(self) -> TextIO:
        return self._err

    def emit(self, document: Document, *, success: bool = True) -> None:
        """The command's answer. An empty listing says so on standard error."""
        self.write(render(document, self.format, self.out_style, success=success))
        if isinstance(document, Listing) and not document.rows and self.format.for_people:
            self.note(document.empty)

    def write(self, text: str) -> None:
        """Text for standard output, as it is."""
        if text:
            self.settle()
            self._out.write(text)
            self._out.flush()

    def passing(self, text: str) -> None:
        """A line for somebody who looks at a terminal where nothing was said yet; gone with the first word."""
        if self._spoken or not self.interactive or os.environ.get("TERM") == "dumb":
            return
        self._passing = True
        with suppress(OSError):
            self._err.write(self.style.dim(clean(text)))
            self._err.flush()

    def settle(self) -> None:
        """Takes away what is only passing; from now on there is something to see."""
        self._spoken = True
        if self._passing:
            self._passing = False
            with suppress(OSError):
                self._err.write("\r\x1b[K")
                self._err.flush()

    def note(self, text: str) -> None:
        """One line of chatter."""
        self.painted(clean(text, keep_lines=True))

    def painted(self, text: str) -> None:
        """One line whose foreign parts are clean already and which may hold colours."""
        self.settle()
        with suppress(OSError):  # nobody reads any more; what is said is no reason to fail
            self._err.write(text + "\n")
            self._err.flush()

    def note_failure(self, message: str, remedy: str) -> None:
        """What went wrong with one part of an answer, as an error looks."""
        text = clean(f"{message}\n{remedy}", keep_lines=True)
        self.painted(f"{self.style.red('error:')} {text}")

    def fail(self, error: TrellisError) -> None:
        """The error that ended the command."""
        out, err = render_failure(error, self.format, self.style)
        self.write(out)
        if err:
            self.painted(err.rstrip("\n"))

    @contextmanager
    def progress(self, text: str) -> Iterator[Progress]:
        """A spinner with changing text; in a pipe each text after the first is a line of its own."""
        self.settle()
        if not self.interactive or os.environ.get("TERM") == "dumb":
            yield _Lines(self)
            return
        from rich.console import Console

        console = Console(file=self._err, no_color=not self.style.enabled, highlight=False)
        with console.status(clean(text)) as status:
            yield _Spinner(console, status)

    def _colored(self, stream: TextIO) -> bool:
        if self._asked is not None:
            return self._asked
        return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Lines:
    """Progress in a pipe: what is new, and nothing twice in a row."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal, self._last = terminal, ""

    def update(self, text: str) -> None:
        if text != self._last:
            self._last = text
            self._terminal.note(text)

    def say(self, text: str) -> None:
        self.update(text)


class _Spinner:
    """Progress on a terminal."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status = console, status

    def update(self, text: str) -> None:
        from rich.markup import escape

        self._status.update(escape(clean(text)))

    def say(self, text: str) -> None:
        self._console.print(clean(text), markup=False, soft_wrap=True)
