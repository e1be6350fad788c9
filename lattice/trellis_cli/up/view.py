"""What `trellis up` shows: plain lines in a pipe, a live block below the hosts' logs on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from trellis_cli.output import clean
from trellis_cli.output.up import Overview, overview_text
from trellis_cli.terminal import Terminal
from trellis_cli.up.supervisor import HostState, Watcher

__all__ = ["View", "follow", "open_view"]

_POLL = 0.1
_CHUNK = 64 * 1024
_MAX_LINE = 4096
_MAX_LOG = 16 * 1024 * 1024
"""Bytes after which a log is begun anew; the last one is kept beside it."""


class View(Watcher, Protocol):
    """A watcher that also shows log lines and what runs in the lattice."""

    def log(self, name: str, line: str) -> None:
        """One line of a host's log."""

    def facts(self, facts: Mapping[str, str]) -> None:
        """What the live block says besides the hosts: applications, addresses, …"""

    def ready(self, text: str) -> None:
        """Everything is up."""


class PlainView:
    """Lines on standard error; each says one thing that happened."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._phases: dict[str, str] = {}

    def say(self, text: str) -> None:
        self._terminal.note(text)

    def nats(self, url: str, phase: str) -> None:
        where = f" at {url}" if url and phase in ("ready", "external") else ""
        self._terminal.note(f"nats is {phase}{where}")

    def host(self, state: HostState) -> None:
        if self._phases.get(state.name) == state.phase:
            return
        self._phases[state.name] = state.phase
        named = f": {state.friendly_name} {state.id}" if state.phase == "ready" else ""
        self._terminal.note(f"{state.name} is {state.phase}{named}")

    def log(self, name: str, line: str) -> None:
        self._terminal.painted(f"{self._terminal.style.dim(name + ' |')} {clean(line)}")

    def facts(self, facts: Mapping[str, str]) -> None:
        """Lines say what changes, not what is."""

    def ready(self, text: str) -> None:
        self._terminal.note(text)


class LiveView:
    """A block that is redrawn in place; everything else scrolls above it."""

    def __init__(self, terminal: Terminal, live: Any, lattice: str) -> None:
        self._terminal = terminal
        self._live = live
        self._overview = Overview(lattice)
        self._draw()

    def say(self, text: str) -> None:
        self._print(clean(text, keep_lines=True))

    def nats(self, url: str, phase: str) -> None:
        self._overview.nats = (url, phase)
        self._draw()

    def host(self, state: HostState) -> None:
        self._overview.hosts[state.name] = state
        self._draw()

    def log(self, name: str, line: str) -> None:
        self._print(f"{self._terminal.style.dim(name + ' |')} {clean(line)}")

    def facts(self, facts: Mapping[str, str]) -> None:
        self._overview.facts = dict(facts)
        self._draw()

    def ready(self, text: str) -> None:
        self._overview.hint = text
        self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        *rows, hint = overview_text(self._overview, self._terminal.style).split("\n", self._overview.height)
        block = Text.from_ansi("\n".join(rows), no_wrap=True, overflow="ellipsis")
        with contextlib.suppress(OSError):  # the terminal is gone; the lattice ends in order all the same
            self._live.update(Group(block, Text.from_ansi(hint)), refresh=True)

    def _print(self, text: str) -> None:
        from rich.text import Text

        with contextlib.suppress(OSError):
            self._live.console.print(Text.from_ansi(text), soft_wrap=True)


@contextlib.contextmanager
def open_view(terminal: Terminal, lattice: str) -> Iterator[View]:
    """The live view if somebody looks at a capable terminal, else lines."""
    if not terminal.interactive or os.environ.get("TERM", "dumb") == "dumb":
        yield PlainView(terminal)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=terminal.err, no_color=not terminal.style.enabled, highlight=False)
    live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    live.start()
    try:
        yield LiveView(terminal, live, lattice)
    finally:
        with contextlib.suppress(OSError):
            live.stop()


async def follow(name: str, log: Path, view: View) -> None:
    """Shows what is appended to a log from now on. Runs until cancelled.

    A log is a plain file, so that a host never waits for whoever reads; that is why this looks again and again.
    """
    position, rest = _size(log), b""
    while True:
        await asyncio.sleep(_POLL)
        with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
            size = _size(log)
            if size < position:
                position = 0
            elif size > _MAX_LOG and position == size:
                _turn_over(log)
                position = 0
                continue
            file.seek(position)
            chunk = file.read(_CHUNK)
            position += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[-_MAX_LINE:]
            for line in lines:
                view.log(name, line[:_MAX_LINE].decode("utf-8", "replace"))


def _turn_over(log: Path) -> None:
    """Copies and empties the log. The host appends, so it goes on writing at the new end."""
    shutil.copyfile(log, log.with_suffix(".log.1"))
    os.truncate(log, 0)


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0
