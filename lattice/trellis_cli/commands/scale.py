"""`trellis scale component`."""

from __future__ import annotations

from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.start import Annotation, Config, Force, NoWait
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

__all__ = ["register"]

_SCALE_TIMEOUT = 180.0


async def component(
    cli: Cli,
    host: Annotated[str, typer.Argument(metavar="HOST", help="Id, beginning of an id, or friendly name.")],
    ref: Annotated[str, typer.Argument(metavar="REF", help="Its image; one that runs keeps the image it has.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="The component.")],
    max_instances: Annotated[
        int,
        typer.Option(
            "-c", "--max-instances", "--count", min=0, max=2**32 - 1, help="Invocations at one time; 0 stops it."
        ),
    ] = 2**32 - 1,
    annotation: Annotation = None,
    config: Config = None,
    no_wait: NoWait = False,
    force: Force = False,
) -> None:
    """Say how many invocations of a component a host may run at one time; start it there if it does not run.

    Without --max-instances there is no bound. What is not said stays: its annotations, and its configuration.
    """
    from trellis_cli.labels import parse_pairs
    from trellis_cli.managed import refuse_managed
    from trellis_cli.workloads import check_workload_id, component_on, host_name, image_ref, on_host
    from trellis_lattice.errors import Conflict

    image, id = image_ref(ref), check_workload_id("component", id)
    annotations = parse_pairs(annotation or (), "annotation")
    async with open_lattice(cli.settings) as lattice:
        chosen = await lattice.find_host(host)
        inventories = await lattice.inventories()
        refuse_managed("component", id, inventories, "scaled", force=force)
        running = component_on(chosen.id, id, inventories)
        if running is not None and running.image_ref != image:
            raise Conflict(
                f"Component `{id}` runs on {host_name(chosen)} from {running.image_ref}, not {image}.",
                remedy=f"Replace it: trellis update component {id} {image} --host {chosen.friendly_name}",
            )
        kept = running.annotations or {} if running is not None else {}
        with cli.terminal.progress(f"Scaling {id} on {host_name(chosen)}"), on_host(host_name(chosen)):
            await lattice.client.scale_component(
                chosen.id,
                image,
                id,
                max_instances,
                annotations={**kept, **annotations},
                config=config if config is not None else running.config if running is not None else (),
                limits=running.limits if running is not None else None,
                timeout=lattice.timeout,
                wait=None if no_wait else cli.settings.patience(_SCALE_TIMEOUT),
            )
    bound = "without a bound" if max_instances == 2**32 - 1 else f"at most {max_instances} at one time"
    text = f"Component `{id}` on {host_name(chosen)}: {bound}." if max_instances else f"Component `{id}` has stopped."
    if no_wait:
        text = f"{host_name(chosen)} has been told to run component `{id}` {bound}."
    data = {"result": text, "host_id": chosen.id, "component_id": id, "component_ref": image}
    cli.terminal.emit(Report({**data, "max_instances": max_instances}, names=[id]))
    cli.terminal.note(text)


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "component",
        aliases=("components",),
        examples=(
            "trellis scale component crimson-meadow-4211 ghcr.io/org/echo:1 echo --max-instances 50",
            "trellis scale component NDX4 ./echo.wasm echo -c 0",
        ),
    )(component)
