"""`trellis label HOST KEY=VALUE…`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.link import IgnoreMissing
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_lattice.control.host import HostInfo

__all__ = ["register"]


async def label(
    cli: Cli,
    host: Annotated[str, typer.Argument(metavar="HOST", help="Id, beginning of an id, or friendly name.")],
    labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Labels; with --delete keys will do.")],
    delete: Annotated[bool, typer.Option("--delete", "-d", metavar="", help="Take the labels away.")] = False,
    ignore_missing: IgnoreMissing = False,
) -> None:
    """Set labels of a host, or take them away. They last until the host stops; `host run --label` makes them stay.

    Applications whose rules look at a label are placed anew.
    """
    from trellis_cli.labels import parse_keys, parse_labels

    wanted = dict.fromkeys(parse_keys(labels), "") if delete else parse_labels(labels)
    async with open_lattice(cli.settings) as lattice:
        found = await lattice.find_host(host)
        if delete:
            await _delete(lattice, found, list(wanted), ignore_missing=ignore_missing)
        else:
            for key, value in wanted.items():
                await lattice.client.put_label(found.id, key, value, timeout=lattice.timeout)
    processed = [key if delete else f"{key}={value}" for key, value in wanted.items()]
    data = {"deleted": delete, "processed": processed, "host_id": found.id}
    cli.terminal.emit(Report(data, names=processed))
    done = "lost" if delete else "has"
    cli.terminal.note(f"Host {found.friendly_name or found.id} {done} {', '.join(processed)}.")


async def _delete(lattice: Lattice, host: HostInfo, keys: list[str], *, ignore_missing: bool) -> None:
    from trellis_lattice.errors import NotFound

    missing = [key for key in keys if key not in host.labels]
    if missing and not ignore_missing:
        raise NotFound(
            f"Host {host.friendly_name or host.id} has no label {', '.join(missing)}.",
            remedy="`trellis get hosts -o wide` lists the labels of every host.",
        )
    for key in keys:
        await lattice.client.delete_label(host.id, key, timeout=lattice.timeout)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(
        app,
        "label",
        aliases=("labels",),
        examples=("trellis label crimson-meadow-4211 zone=a disk=ssd", "trellis label NDX4 zone --delete"),
        panel="By hand",
    )(label)
