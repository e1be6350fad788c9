"""`trellis version`."""

from __future__ import annotations

import typer

from trellis_cli.command import Cli, command
from trellis_cli.output import Report, align
from trellis_lattice.errors import TrellisError

__all__ = ["register"]

_PATIENCE = 1.0


async def version(cli: Cli) -> None:
    """Show the versions of what is installed here and, if a lattice is in reach, of its NATS and its hosts."""
    from trellis_cli.lattice import open_lattice
    from trellis_cli.versions import installed

    here = installed()
    hosts: list[dict[str, str]] = []
    server: str | None = None
    try:
        async with open_lattice(cli.settings, cli.settings.patience(_PATIENCE)) as lattice:
            server = lattice.client.connection.server_info.get("version")
            hosts = [
                {"id": host.id, "friendly_name": host.friendly_name, "version": host.version or ""}
                for host in await lattice.hosts()
            ]
    except TrellisError:
        pass  # no lattice in reach: what is installed here is answer enough
    rows = [[name, number or "not installed"] for name, number in here.items()]
    rows += [["NATS of the lattice", server]] if server else []
    rows += [[f"host {host['friendly_name']}", host["version"]] for host in hosts]
    cli.terminal.emit(Report({**here, "nats": server, "hosts": hosts}, text=align(rows), names=[here["trellis"] or ""]))
    strangers = [host["friendly_name"] for host in hosts if host["version"] != here["trellis"]]
    if strangers:
        cli.terminal.note(f"Of another version than this command: {', '.join(strangers)}.")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "version", examples=("trellis version", "trellis version -o json"), panel="Look")(version)
