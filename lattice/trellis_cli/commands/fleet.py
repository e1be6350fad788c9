"""`trellis cordon`, `trellis uncordon` and `trellis drain`: which hosts take work, and which give theirs away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trellis_cli.command import Cli, command
from trellis_cli.exits import ExitCode
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

if TYPE_CHECKING:
    from trellis_cli.evacuation import Move, Stay

__all__ = ["register"]

_DRAIN_TIMEOUT = 60.0

Host = Annotated[str, typer.Argument(metavar="HOST", help="Id, beginning of an id, or friendly name.")]


async def cordon(cli: Cli, host: Host) -> None:
    """Give a host no new work. What it runs goes on; `trellis uncordon` takes it back."""
    from trellis_cli.workloads import host_name
    from trellis_wadm.inventory import CORDON_LABEL

    async with open_lattice(cli.settings) as lattice:
        found = await lattice.find_host(host)
        await lattice.client.put_label(found.id, CORDON_LABEL, "true", timeout=lattice.timeout)
    _told(cli, found.id, f"Host {host_name(found)} gets no new work.")


async def uncordon(cli: Cli, host: Host) -> None:
    """Give a host work again that was cordoned or drained."""
    from trellis_cli.workloads import host_name
    from trellis_wadm.inventory import CORDON_LABEL, DRAIN_LABEL

    async with open_lattice(cli.settings) as lattice:
        found = await lattice.find_host(host)
        for label in (CORDON_LABEL, DRAIN_LABEL):
            await lattice.client.delete_label(found.id, label, timeout=lattice.timeout)
    _told(cli, found.id, f"Host {host_name(found)} gets work again.")


async def drain(
    cli: Cli,
    host: Host,
    no_wait: Annotated[bool, typer.Option("--no-wait", metavar="", help="Only begin; do not watch.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only say what would move where.")] = False,
) -> ExitCode:
    """Move what a host runs to other hosts, and wait until it has nothing to do.

    Everything runs in its new place before it ends in the old one. What no other host may run stays, and is told with
    its reason (exit code 7). The host goes on draining, also if the time is over (--timeout, default 60s; exit code
    4), until `trellis uncordon`.
    """
    from trellis_cli.evacuation import evacuate, foretell
    from trellis_cli.explaining import look
    from trellis_cli.workloads import host_name
    from trellis_wadm.inventory import DRAIN_LABEL

    async with open_lattice(cli.settings) as lattice:
        found = await lattice.find_host(host)
        name = host_name(found)
        if dry_run or no_wait:
            moves, stays = foretell(await look(lattice, lattice.timeout, loads=True), found.id)
            if no_wait and not dry_run:
                await lattice.client.put_label(found.id, DRAIN_LABEL, "true", timeout=lattice.timeout)
            verb = "would be drained" if dry_run else "drains"
            return _answer(cli, found.id, f"Host {name} {verb}.", moves, stays, None)
        with cli.terminal.progress(f"Draining {name}") as progress:
            done = await evacuate(lattice, found, cli.settings.patience(_DRAIN_TIMEOUT), progress.say)
    text = f"Host {name} has nothing to do." if not done.stays else f"Host {name} is drained as far as possible."
    return _answer(cli, found.id, text, done.moved, done.stays, done.in_flight, said=True)


def _answer(
    cli: Cli,
    host_id: str,
    text: str,
    moves: Sequence[Move],
    stays: Sequence[Stay],
    in_flight: int | None,
    *,
    said: bool = False,
) -> ExitCode:
    """`said`: the moves have been told as they happened."""
    data: dict[str, Any] = {
        "result": text,
        "host_id": host_id,
        "moved": [{"kind": each.kind, "id": each.id, "to": list(each.to)} for each in moves],
        "stays": [{"kind": each.kind, "id": each.id, "reason": each.reason} for each in stays],
    }
    if in_flight is not None:
        data["in_flight"] = in_flight
    for line in [*([] if said else map(str, moves)), *map(str, stays), text]:
        cli.terminal.note(line)
    cli.terminal.emit(Report(data, names=[host_id]), success=not stays)
    return ExitCode.PARTIAL if stays else ExitCode.OK


def _told(cli: Cli, host_id: str, text: str) -> None:
    cli.terminal.emit(Report({"result": text, "host_id": host_id}, names=[host_id]))
    cli.terminal.note(text)


def register(root: typer.Typer) -> None:
    """Adds the commands."""
    panel = "Hosts"
    for name, function in (("cordon", cordon), ("uncordon", uncordon)):
        examples = (f"trellis {name} crimson-meadow-4211", f"trellis {name} NDX4 -o json")
        command(root, name, examples=examples, panel=panel)(function)
    command(
        root,
        "drain",
        examples=(
            "trellis drain crimson-meadow-4211",
            "trellis drain NDX4 --timeout 5m",
            "trellis drain NDX4 --dry-run",
        ),
        panel=panel,
    )(drain)
