"""`trellis spy ID`: the calls of a component or provider, as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Format

if TYPE_CHECKING:
    from trellis_lattice.follow.client import Told

__all__ = ["register"]


async def spy(
    cli: Cli,
    id: Annotated[str, typer.Argument(metavar="ID", help="A component, a provider, or an application.")],
    function: Annotated[
        str,
        typer.Option("--function", metavar="FUNCTION", help="Only this one: func, iface.func or ns:pkg/iface.func."),
    ] = "",
    payloads: Annotated[bool, typer.Option("--payloads", metavar="", help="Arguments and results, too.")] = False,
) -> None:
    """Watch the calls from and to a component or provider: who called what, how long it took, and how it ended.

    Calls that stay on a host are seen as well as those over the lattice. Hosts tell of them only while somebody
    spies, and at a bounded rate: what is left out is counted. It ends with Ctrl-C, or when --timeout is over.
    """
    from trellis_cli.following import check_stream_format, host_names, read, runs_anywhere, workloads_of
    from trellis_lattice.follow.client import follow_feed
    from trellis_lattice.follow.records import CallFilter
    from trellis_lattice.follow.subjects import CALLS

    check_stream_format(cli)
    async with open_lattice(cli.settings) as lattice:
        names = await host_names(lattice)
        wants = CallFilter(await workloads_of(lattice, id), function.strip(), payloads)
        printer = _Printer(cli, names)
        async with follow_feed(lattice.client.connection, lattice.name, CALLS, wants) as feed:
            about = ", ".join(sorted(wants.ids))
            cli.terminal.note(f"Calls from and to {about}; Ctrl-C ends it.")
            if not await runs_anywhere(lattice, wants.ids):
                cli.terminal.note(f"warning: no host runs {about} now; calls show once one does.")
            await read(cli, feed.next, printer.show)


class _Printer:
    """Prints calls as hosts tell of them."""

    def __init__(self, cli: Cli, names: dict[str, str]) -> None:
        self._terminal = cli.terminal
        self._names = names

    def show(self, told: Told) -> None:
        from trellis_cli.following import jsonl
        from trellis_cli.output.logs import call_item, call_line
        from trellis_lattice.follow.records import CallRecord

        who = self._names.get(told.host, told.host)
        if told.error:
            self._terminal.note(f"warning: {who}: {told.error}")
        for record in sorted((CallRecord.from_wire(wire) for wire in told.records), key=lambda each: each.time):
            if self._terminal.format is Format.JSONL:
                self._terminal.write(jsonl(call_item(record, self._names)))
            else:
                wide = self._terminal.format is Format.WIDE
                self._terminal.write(call_line(record, self._names, self._terminal.out_style, wide=wide))
        if told.dropped:
            self._terminal.note(f"… {told.dropped} more calls on {who} came too fast and are left out")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "spy",
        examples=(
            "trellis spy kv_counter-counter",
            "trellis spy kv --function store.get --payloads",
            "trellis spy web -o jsonl --timeout 10s",
        ),
        panel="Look",
    )(spy)
