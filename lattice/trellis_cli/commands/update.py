"""`trellis update component`."""

from __future__ import annotations

from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.start import Force, NoWait
from trellis_cli.commands.stop import Host
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

__all__ = ["register"]

_UPDATE_TIMEOUT = 180.0


async def component(
    cli: Cli,
    id: Annotated[str, typer.Argument(metavar="ID", help="The component.")],
    new_ref: Annotated[str, typer.Argument(metavar="NEW_REF", help="The image it is to run from now on.")],
    host: Host = None,
    no_wait: NoWait = False,
    force: Force = False,
) -> None:
    """Replace the image of a component, one host after the other, without losing a call.

    Each host starts the new image beside the old one, lets the old one finish its calls, and keeps the old one if
    the new one does not start: then this ends with the reason, and the hosts that follow are left alone.
    """
    from trellis_cli.managed import refuse_managed
    from trellis_cli.workloads import image_ref, listed, on_host, where

    image = image_ref(new_ref)
    async with open_lattice(cli.settings) as lattice:
        found = await where(lattice, "component", id, host)
        refuse_managed("component", id, [each for each, _ in found], "updated", force=force)
        outdated = [(on, item) for on, item in found if item.image_ref != image]
        wait = None if no_wait else cli.settings.patience(_UPDATE_TIMEOUT)
        with cli.terminal.progress(f"Updating {id}") as progress:
            for number, (on, _) in enumerate(outdated, 1):
                progress.update(f"Updating {id} on {on.friendly_name} ({number} of {len(outdated)})")
                with on_host(on.friendly_name):
                    await lattice.client.update_component(on.host_id, id, image, timeout=lattice.timeout, wait=wait)
    on_hosts = listed(on.friendly_name for on, _ in found)
    text = f"Component `{id}` runs from {image} on {on_hosts}."
    if not outdated:
        text = f"Component `{id}` runs from {image} already, on {on_hosts}."
    elif no_wait:
        text = f"{on_hosts} {'has' if len(found) == 1 else 'have'} been told to update component `{id}` to {image}."
    ids = [on.host_id for on, _ in found]
    data = {"result": text, "component_id": id, "component_ref": image, "host_id": ids[0], "host_ids": ids}
    cli.terminal.emit(Report(data, names=[id]))
    cli.terminal.note(text)


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "component",
        aliases=("components",),
        examples=(
            "trellis update component echo ghcr.io/org/echo:2",
            "trellis update component echo ./build/echo.wasm --host crimson-meadow-4211",
        ),
    )(component)
