"""`-w/--watch`: the same answer again and again, for people in place, for programs as a stream of changes.

The laws of this file: on a terminal the answer is redrawn where it stands; in a pipe a table is printed again only
when it says something new, and `-o jsonl` prints a line for each thing that was added, changed or removed; a lattice
that does not answer for a while is said once and asked again.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from trellis_cli.output import Document, Format, Listing, Report, parse_duration, render
from trellis_cli.output.style import width
from trellis_lattice.errors import RequestInvalid, TrellisError

if TYPE_CHECKING:
    from trellis_cli.command import Cli

__all__ = ["Screen", "Watch", "WatchGroup", "changes", "interval", "watch", "with_interval"]

DEFAULT = "2s"
_MILLISECONDS_FROM = 100
"""v1 counts a bare number in milliseconds; nobody means 100 seconds or more."""
_SHORTEST = 0.1
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_VOLATILE = frozenset({"uptime_seconds", "uptime_human", "local_calls", "lattice_calls", "calls"})
"""What changes all the time, and is no news by itself."""

Watch = Annotated[
    str | None,
    typer.Option("-w", "--watch", metavar="[INTERVAL]", help=f"Again and again, every {DEFAULT} or as said."),
]


class WatchGroup(TyperGroup):
    """Commands whose `--watch` may stand without a value."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        return super().parse_args(ctx, with_interval(args))


def with_interval(arguments: list[str]) -> list[str]:
    """The arguments with the default after each `-w` or `--watch` that has no duration of its own."""
    found: list[str] = []
    for here, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        bare = here in ("-w", "--watch") and not _is_duration(following)
        found.append(f"--watch={DEFAULT}" if bare else here)
    return found


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except RequestInvalid:
        return False
    return True


def interval(text: str) -> float:
    """Seconds of `5s`; a bare number from 100 on is milliseconds, as v1 has it. Raises `RequestInvalid`."""
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit() and int(stripped) >= _MILLISECONDS_FROM:
        return max(_SHORTEST, int(stripped) / 1000)
    return max(_SHORTEST, parse_duration(text))


def changes(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is different, each with `change`: `added`, `changed` or `removed`. Uptimes and counts alone are no news."""
    found: list[dict[str, Any]] = []
    for key, item in now.items():
        if key not in before:
            found.append({"change": "added", **item})
        elif _lasting(before[key]) != _lasting(item):
            found.append({"change": "changed", **item})
    return found + [{"change": "removed", **item} for key, item in before.items() if key not in now]


def _lasting(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in _VOLATILE}


async def watch(
    cli: Cli, every: str, question: Callable[[], Awaitable[Document]], *, over: Callable[[], bool] = lambda: False
) -> None:
    """Asks every so often, until Ctrl-C or, after an answer, `over`. Raises what the first question raises."""
    seconds = interval(every)
    screen = Screen(cli)
    screen.show(await question())
    while not over():
        await asyncio.sleep(seconds)
        try:
            document = await question()
        except TrellisError as error:
            screen.trouble(error)
        else:
            screen.show(document)


class Screen:
    """What is seen of a watched answer. Raises `RequestInvalid` for a format that holds one answer only."""

    def __init__(self, cli: Cli) -> None:
        if cli.terminal.format in (Format.JSON, Format.YAML):
            raise RequestInvalid(
                f"-o {cli.terminal.format} is one document; --watch has no end.", remedy="Use -o jsonl with --watch."
            )
        self._terminal = cli.terminal
        self._shown = ""
        self._items: dict[str, Mapping[str, Any]] = {}
        self._trouble = ""

    def show(self, document: Document) -> None:
        self._trouble = ""
        if self._terminal.format is Format.JSONL:
            items = _items(document)
            for change in changes(self._items, items):
                self._terminal.write(_line(change))
            self._items = items
            return
        text = render(document, self._terminal.format, self._terminal.out_style)
        if not text and isinstance(document, Listing) and self._terminal.format.for_people:
            text = f"{document.empty}\n"
        self._draw(text)

    def trouble(self, error: TrellisError) -> None:
        if error.message != self._trouble:
            self._trouble = error.message
            self._terminal.note(f"warning: {error.message}")
            self._shown = ""

    def _draw(self, text: str) -> None:
        if self._terminal.answers_people:
            columns, height = shutil.get_terminal_size()
            lines = _height(self._shown, columns)
            fits = lines < height if lines else False
            back = f"\x1b[{lines}F\x1b[J" if fits else "\x1b[H\x1b[2J" if lines else ""
            self._terminal.write(back + text)
        elif text != self._shown:
            self._terminal.write(("\n" if self._shown else "") + text)
        self._shown = text


def _height(text: str, columns: int) -> int:
    """The lines that a text takes on a terminal, which breaks those that are too long."""
    widths = [width(_COLOUR.sub("", line)) for line in text.splitlines()]
    return sum(max(1, -(-wide // max(1, columns))) for wide in widths)


def _items(document: Document) -> dict[str, Mapping[str, Any]]:
    """What an answer speaks of, by what tells it apart; a report speaks of one thing."""
    if isinstance(document, Report):
        return {"": document.data}
    return dict(zip(_keys(document), document.items, strict=True))


def _keys(listing: Listing) -> list[str]:
    """What tells the items apart: the fields that name them, and how many came before with the same."""
    seen: dict[str, int] = {}
    keys = []
    for item in listing.items:
        names = [str(item.get(key, "")) for key in ("id", "host_id", "name", "source_id", "target", "wit_package")]
        name = "\0".join(names)
        seen[name] = seen.get(name, 0) + 1
        keys.append(f"{name}\0{seen[name]}")
    return keys


def _line(item: Mapping[str, Any]) -> str:
    import json

    return json.dumps(item, ensure_ascii=False, default=str) + "\n"
