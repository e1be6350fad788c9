"""`trellis stop component|provider|host`."""

from __future__ import annotations

from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.start import Force, NoWait
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

__all__ = ["register"]

_STOP_TIMEOUT = 30.0
_HOST_TIMEOUT = 60.0
"""Seconds: a host that stops first lets its work move, then finishes what it has."""

Host = Annotated[
    str | None,
    typer.Option("--host", "--host-id", metavar="HOST", help="Only there; default: wherever it runs."),
]


async def component(
    cli: Cli,
    id: Annotated[str, typer.Argument(metavar="ID", help="The component.")],
    host: Host = None,
    no_wait: NoWait = False,
    force: Force = False,
) -> None:
    """Stop a component, on one host or wherever it runs. Calls that it has begun are finished."""
    await _stop(cli, "component", id, host, no_wait=no_wait, force=force)


async def provider(
    cli: Cli,
    id: Annotated[str, typer.Argument(metavar="ID", help="The provider.")],
    host: Host = None,
    no_wait: NoWait = False,
    force: Force = False,
) -> None:
    """Stop a provider, on one host or wherever it runs."""
    await _stop(cli, "provider", id, host, no_wait=no_wait, force=force)


async def host(
    cli: Cli,
    host: Annotated[str, typer.Argument(metavar="HOST", help="Id, beginning of an id, or friendly name.")],
    no_wait: NoWait = False,
) -> None:
    """Stop a host as a drain: it takes no new work, finishes what it has, and leaves.

    --timeout is how long it may take (default 60s). A host that `trellis up` or a service manager watches may be
    started again by it.
    """
    from trellis_cli.workloads import host_name

    async with open_lattice(cli.settings) as lattice:
        found = await lattice.find_host(host)
        patience = cli.settings.patience(_HOST_TIMEOUT)
        with cli.terminal.progress(f"Stopping host {host_name(found)}"):
            await lattice.client.stop_host(
                found.id,
                grace=cli.settings.timeout,
                timeout=lattice.timeout,
                wait=None if no_wait else patience,
            )
    text = f"Host {host_name(found)} has {'been told to stop' if no_wait else 'left'}."
    cli.terminal.emit(Report({"result": text, "host_id": found.id}, names=[found.id]))
    cli.terminal.note(text)


async def _stop(cli: Cli, kind: str, id: str, host: str | None, *, no_wait: bool, force: bool) -> None:
    from trellis_cli.managed import refuse_managed
    from trellis_cli.workloads import listed, where

    async with open_lattice(cli.settings) as lattice:
        found = await where(lattice, kind, id, host)
        refuse_managed(kind, id, [each for each, _ in found], "stopped", force=force)
        wait = None if no_wait else cli.settings.patience(_STOP_TIMEOUT)
        with cli.terminal.progress(f"Stopping {id}"):
            for on, item in found:
                if kind == "component":
                    await lattice.client.scale_component(
                        on.host_id, item.image_ref, id, 0, timeout=lattice.timeout, wait=wait
                    )
                else:
                    await lattice.client.stop_provider(on.host_id, id, timeout=lattice.timeout, wait=wait)
    names = listed(on.friendly_name for on, _ in found)
    text = f"{kind.capitalize()} `{id}` has stopped on {names}."
    if no_wait:
        text = f"{names} {'has' if len(found) == 1 else 'have'} been told to stop {kind} `{id}`."
    hosts = [on.host_id for on, _ in found]
    cli.terminal.emit(Report({"result": text, f"{kind}_id": id, "host_id": hosts[0], "host_ids": hosts}, names=[id]))
    cli.terminal.note(text)


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "component",
        aliases=("components",),
        examples=("trellis stop component echo", "trellis stop component echo --host crimson-meadow-4211"),
    )(component)
    command(
        group,
        "provider",
        aliases=("providers",),
        examples=("trellis stop provider kv", "trellis stop provider kv --host crimson-meadow-4211"),
    )(provider)
    command(
        group,
        "host",
        aliases=("hosts",),
        examples=("trellis stop host crimson-meadow-4211", "trellis stop host NDX4 --timeout 2m"),
    )(host)
