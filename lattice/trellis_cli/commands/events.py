"""`trellis events`, `trellis get events`: what happened in a lattice, and what happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Format

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_lattice.events import LatticeEvent

__all__ = ["recent_events", "register", "show_events"]

_MAX_WAITING = 4096

Since = Annotated[
    str | None, typer.Option("--since", metavar="DURATION", help="Only those of the last 30s, 10m, 2h, ….")
]
Kind = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", help="Only of this type, e.g. component_scaled; may be repeated."),
]
Source = Annotated[
    str | None,
    typer.Option("--source", "--host", metavar="HOST", help="Only of this host: id, its beginning, or name."),
]


async def events(
    cli: Cli,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", "-f", "--follow", metavar="", help="Go on as they happen.")
    ] = False,
    since: Since = None,
    type: Kind = None,
    source: Source = None,
) -> None:
    """Show what happened: hosts that came and went, what started, stopped and failed, links, configuration.

    Each host remembers its own most recent events, except heartbeats; those of hosts that are gone are gone with
    them. With --watch new ones follow until Ctrl-C, or until --timeout is over.
    """
    await show_events(cli, watch=watch, since=since, kinds=type or [], source=source)


async def show_events(cli: Cli, *, watch: bool, since: str | None, kinds: list[str], source: str | None) -> None:
    """Prints what is remembered, and with `watch` what follows."""
    from trellis_cli.following import check_stream_format, host_names, jsonl, read
    from trellis_cli.output.events import event_item, event_line
    from trellis_cli.output.events import events as listing

    wanted = _kinds(kinds)
    if watch:
        check_stream_format(cli)
    async with open_lattice(cli.settings) as lattice:
        names = await host_names(lattice)
        host = (await lattice.find_host(source)).id if source is not None else None
        arriving: asyncio.Queue[LatticeEvent] = asyncio.Queue(_MAX_WAITING)
        if watch:
            await _listen(lattice, arriving)
        found = [
            event for event in await recent_events(lattice, since, len(names)) if _fits(event, wanted, host, names)
        ]
        if not watch:
            cli.terminal.emit(listing(found, names, lattice.name))
            return
        seen = {event.id for event in found}

        def show(event: LatticeEvent) -> None:
            if event.id in seen or not _fits(event, wanted, host, names):
                return
            if cli.terminal.format is Format.JSONL:
                cli.terminal.write(jsonl(event_item(event)))
            else:
                cli.terminal.write(event_line(event, names, cli.terminal.out_style))

        known, seen = found if since is not None else found[-10:], set()
        for event in known:
            show(event)
        seen = {event.id for event in found}
        await read(cli, arriving.get, show)


async def _listen(lattice: Lattice, arriving: asyncio.Queue[LatticeEvent]) -> None:
    from trellis_lattice.events.feed import listen

    def heard(event: LatticeEvent) -> None:
        if not arriving.full():
            arriving.put_nowait(event)

    await listen(lattice.client.connection, lattice.name, heard)


async def recent_events(lattice: Lattice, since: str | None, hosts: int) -> list[LatticeEvent]:
    """What the hosts remember, oldest first; with `since` only what is not older than that."""
    import json

    from trellis_cli.output import parse_duration
    from trellis_lattice.events import parse
    from trellis_lattice.follow.client import gather_recent
    from trellis_lattice.follow.subjects import EVENTS

    wanted = {"since": parse_duration(since)} if since is not None else {}
    answers = await gather_recent(
        lattice.client.connection, lattice.name, EVENTS, wanted, timeout=min(lattice.timeout, 2.0), hosts=hosts
    )
    parsed = [parse(json.dumps(record).encode()) for told in answers for record in told.records]
    return sorted((event for event in parsed if event is not None), key=lambda event: (event.time, event.id))


def _kinds(given: list[str]) -> frozenset[str]:
    """The types asked for. Raises `RequestInvalid` for one that there is not."""
    from trellis_lattice.errors import RequestInvalid
    from trellis_lattice.events import EVENTS

    kinds = frozenset(part.strip() for text in given for part in text.split(",") if part.strip())
    for kind in sorted(kinds - set(EVENTS)):
        raise RequestInvalid(f"There is no event type {kind!r}.", remedy=f"There are: {', '.join(sorted(EVENTS))}.")
    return kinds


def _fits(event: LatticeEvent, kinds: frozenset[str], host: str | None, names: dict[str, str]) -> bool:
    if host is not None and event.source != host:
        return False
    name = event.data.get("friendly_name")
    if isinstance(name, str):
        names.setdefault(event.source, name)
    return event.kind in kinds if kinds else event.kind not in ("host_heartbeat", "health_check_status")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "events",
        examples=(
            "trellis events --watch",
            "trellis events --since 10m --type component_scale_failed",
            "trellis events -w -o jsonl --source crimson-meadow-4211",
        ),
        panel="Look",
    )(events)
