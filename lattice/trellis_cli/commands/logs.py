"""`trellis logs`: what components, providers and hosts said, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Format

if TYPE_CHECKING:
    from trellis_lattice.follow.client import Told
    from trellis_lattice.follow.records import LogRecord

__all__ = ["register"]

_LEVELS = {"warning": "warn", "err": "error", "fatal": "critical"}


async def logs(
    cli: Cli,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A component, a provider or an application; default: all.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", metavar="", help="Go on as they come.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DURATION", help="Only the last 30s, 10m, 2h, ….")
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="Only of this host: id, its beginning, or name.")
    ] = None,
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help="This level and above.")] = "trace",
    tail: Annotated[int, typer.Option("-n", "--tail", min=0, max=1000, help="At most so many of each host.")] = 200,
) -> None:
    """Show the log of components, providers and hosts, without any collector.

    Each host remembers its most recent records, and tells new ones only while somebody follows. What a host logs at
    all is set by TRELLIS_LOG where it runs (default info). With --follow this ends with Ctrl-C, or when --timeout is
    over.
    """
    from trellis_cli.following import check_stream_format, host_names, read, workloads_of
    from trellis_cli.output import parse_duration
    from trellis_cli.output.logs import logs as listing
    from trellis_lattice.follow.client import follow_feed, gather_recent
    from trellis_lattice.follow.records import LogFilter
    from trellis_lattice.follow.subjects import LOGS

    least, age = _level(level), parse_duration(since) if since is not None else 0.0
    if follow:
        check_stream_format(cli)
    async with open_lattice(cli.settings) as lattice:
        names = await host_names(lattice)
        chosen = frozenset({(await lattice.find_host(host)).id}) if host is not None else frozenset()
        components = await workloads_of(lattice, name) if name is not None else frozenset()
        wants = LogFilter(components, chosen, least, age, max(tail, 1))
        connection = lattice.client.connection
        async with follow_feed(connection, lattice.name, LOGS, wants) as feed:
            told = await gather_recent(
                connection, lattice.name, LOGS, wants, timeout=min(lattice.timeout, 2.0), hosts=len(names)
            )
            printer = _Printer(cli, names)
            recent = printer.read(told) if tail else []
            if not follow:
                if printer.lines and recent:
                    printer.show(recent)
                else:
                    cli.terminal.emit(listing(recent, names, lattice.name))
                return
            printer.show(recent)
            printer.remember(recent)
            await read(cli, feed.next, lambda batch: printer.show(printer.read([batch])))


class _Printer:
    """Prints records in the order in which they came, each once."""

    def __init__(self, cli: Cli, names: dict[str, str]) -> None:
        self._cli = cli
        self._names = names
        self._seen: set[tuple[str, int, str]] = set()
        self.lines = cli.terminal.format.for_people
        """Whether it prints lines for people."""

    def read(self, told: list[Told]) -> list[LogRecord]:
        """The records of some batches, oldest first; what a host left out or refused is said."""
        from trellis_lattice.follow.records import LogRecord

        found = []
        for batch in told:
            if batch.error:
                self._cli.terminal.note(f"warning: {self._names.get(batch.host, batch.host)}: {batch.error}")
            if batch.dropped:
                who = self._names.get(batch.host, batch.host)
                self._cli.terminal.note(f"… {batch.dropped} more records of {who} came too fast and are left out")
            for wire in batch.records:
                record = LogRecord.from_wire(wire)
                if (record.host, record.time, record.message) not in self._seen:
                    found.append(record)
        return sorted(found, key=lambda record: record.time)

    def show(self, records: list[LogRecord]) -> None:
        from trellis_cli.following import jsonl
        from trellis_cli.output.logs import log_item, log_line

        terminal, names = self._cli.terminal, self._names
        for record in records:
            if terminal.format is Format.JSONL:
                terminal.write(jsonl(log_item(record, names)))
            else:
                terminal.write(log_line(record, names, terminal.out_style, wide=terminal.format is Format.WIDE))

    def remember(self, records: list[LogRecord]) -> None:
        """What is remembered and what follows overlap for a moment: these are not to be printed again."""
        self._seen = {(record.host, record.time, record.message) for record in records}


def _level(text: str) -> str:
    """The level that is meant. Raises `RequestInvalid`."""
    from trellis_lattice.errors import RequestInvalid
    from trellis_lattice.follow.records import LEVELS

    level = text.strip().lower()
    level = _LEVELS.get(level, level)
    if level not in LEVELS:
        raise RequestInvalid(f"{text[:40]!r} is no level.", remedy=f"Use one of {', '.join(LEVELS)}.")
    return level


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "logs",
        aliases=("log",),
        examples=(
            "trellis logs kv-counter -f",
            "trellis logs --host crimson-meadow-4211 --level warn --since 10m",
            "trellis logs my_app-counter -o jsonl",
        ),
        panel="Look",
    )(logs)
