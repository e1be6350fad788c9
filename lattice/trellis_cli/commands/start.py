"""`trellis start component|provider`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_lattice.control.host import HostInfo, HostInventory

__all__ = ["register"]

_START_TIMEOUT = 180.0
"""Seconds: the first start of a component compiles it."""

Ref = Annotated[str, typer.Argument(metavar="REF", help="Image: a file here, or a reference that hosts can fetch.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="What it is to be called: letters, digits, _ and -.")]
Host = Annotated[
    str | None,
    typer.Option(
        "--host", "--host-id", metavar="HOST", help="Where: id, its beginning, or name; default: any that offers."
    ),
]
Constraint = Annotated[
    list[str] | None,
    typer.Option("-c", "--constraint", metavar="KEY=VALUE", help="Label that the host must have; may be repeated."),
]
Config = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="NAME", help="Named configuration for it; may be repeated, later ones win."),
]
Annotation = Annotated[
    list[str] | None,
    typer.Option("-a", "--annotation", "--annotations", metavar="KEY=VALUE", help="Kept with it; may be repeated."),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", "--skip-wait", metavar="", help="Return once the host has taken the command.")
]
Force = Annotated[bool, typer.Option("--force", metavar="", help="Even if a manifest manages it.")]


async def component(
    cli: Cli,
    ref: Ref,
    id: Id,
    host: Host = None,
    max_instances: Annotated[
        int,
        typer.Option("--max-instances", "--count", min=1, max=2**32 - 1, help="Invocations at one time, at most."),
    ] = 1,
    constraint: Constraint = None,
    config: Config = None,
    annotation: Annotation = None,
    no_wait: NoWait = False,
    force: Force = False,
) -> None:
    """Start a component on a host, and wait until it runs.

    Without --host all hosts are asked, and of those that have the labels and offer to run it the least busy one
    gets it. --timeout bounds the wait (default 180s, because the first start of a component compiles it).
    """
    from trellis_cli.labels import parse_pairs
    from trellis_cli.managed import refuse_managed
    from trellis_cli.workloads import check_workload_id, host_name, image_ref, on_host

    image, id = image_ref(ref), check_workload_id("component", id)
    annotations = parse_pairs(annotation or (), "annotation")
    async with open_lattice(cli.settings) as lattice:
        inventories = await lattice.inventories()
        refuse_managed("component", id, inventories, "changed", force=force)
        chosen = await _place(lattice, "component", image, id, host, constraint or [], inventories)
        wait = None if no_wait else cli.settings.patience(_START_TIMEOUT)
        with cli.terminal.progress(f"Starting {id} on {host_name(chosen)}"), on_host(host_name(chosen)):
            await lattice.client.scale_component(
                chosen.id,
                image,
                id,
                max_instances,
                annotations=annotations,
                config=config or [],
                timeout=lattice.timeout,
                wait=wait,
            )
    _told(cli, "component", id, image, chosen, waited=not no_wait)


async def provider(
    cli: Cli,
    ref: Annotated[str, typer.Argument(metavar="REF", help="A provider: its name, module:Class, or a v1 image.")],
    id: Id,
    host: Host = None,
    link_name: Annotated[
        str, typer.Option("-l", "--link-name", metavar="NAME", help="As v1 has it; links name themselves.", hidden=True)
    ] = "default",
    constraint: Constraint = None,
    config: Config = None,
    annotation: Annotation = None,
    no_wait: NoWait = False,
    force: Force = False,
) -> None:
    """Start a provider on a host, and wait until it runs.

    Without --host all hosts are asked, and the least busy one of those that offer gets it.
    """
    from trellis_cli.labels import parse_pairs
    from trellis_cli.managed import refuse_managed
    from trellis_cli.workloads import check_workload_id, host_name, on_host

    id = check_workload_id("provider", id)
    annotations = parse_pairs(annotation or (), "annotation")
    async with open_lattice(cli.settings) as lattice:
        inventories = await lattice.inventories()
        refuse_managed("provider", id, inventories, "changed", force=force)
        chosen = await _place(lattice, "provider", ref, id, host, constraint or [], inventories)
        wait = None if no_wait else cli.settings.patience(_START_TIMEOUT)
        with cli.terminal.progress(f"Starting {id} on {host_name(chosen)}"), on_host(host_name(chosen)):
            await lattice.client.start_provider(
                chosen.id,
                ref,
                id,
                config=config or [],
                annotations=annotations,
                timeout=lattice.timeout,
                wait=wait,
            )
    _told(cli, "provider", id, ref, chosen, waited=not no_wait)


async def _place(
    lattice: Lattice,
    kind: str,
    ref: str,
    id: str,
    host: str | None,
    constraint: list[str],
    inventories: list[HostInventory],
) -> HostInfo:
    """The host that gets it. Raises `NotFound` saying why there is none."""
    from trellis_cli.labels import parse_pairs
    from trellis_cli.workloads import choose, component_on, no_bid, runs_on
    from trellis_lattice.errors import Conflict, RequestInvalid

    constraints = parse_pairs(constraint, "constraint")
    if host is not None:
        if constraints:
            raise RequestInvalid("Either --host or --constraint says where it is to run.", remedy="Leave one out.")
        chosen = await lattice.find_host(host)
        if kind == "provider" and any(on.host_id == chosen.id for on, _ in runs_on(kind, id, inventories)):
            raise Conflict(
                f"Host {chosen.friendly_name} already runs provider `{id}`.",
                remedy=f"Stop it first: trellis stop provider {id} --host {chosen.friendly_name}",
            )
        running = component_on(chosen.id, id, inventories) if kind == "component" else None
        if running is not None and running.image_ref != ref:
            raise Conflict(
                f"Host {chosen.friendly_name} already runs component `{id}`, from another image: {running.image_ref}.",
                remedy=f"Replace it: trellis update component {id} {ref}",
            )
        return chosen
    ask = lattice.client.auction_component if kind == "component" else lattice.client.auction_provider
    bids = {bid.host_id for bid in await ask(ref, id, constraints, timeout=lattice.timeout)}
    if not bids:
        if not inventories:
            await lattice.find_host("any")  # says that there is no host
        raise no_bid(kind, id, inventories, constraints)
    return await lattice.find_host(choose(bids, inventories))


def _told(cli: Cli, kind: str, id: str, ref: str, host: HostInfo, *, waited: bool) -> None:
    from trellis_cli.workloads import host_name

    if waited:
        text = f"{kind.capitalize()} `{id}` runs on {host_name(host)}."
    else:
        text = f"{host_name(host)} has been told to start {kind} `{id}`. Look: trellis wait --for=running {id}"
    data = {"result": text, f"{kind}_ref": ref, f"{kind}_id": id, "host_id": host.id}
    cli.terminal.emit(Report(data, names=[id]))
    cli.terminal.note(text)


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "component",
        aliases=("components",),
        examples=(
            "trellis start component ./build/echo.wasm echo",
            "trellis start component ghcr.io/org/echo:1 echo --max-instances 20 -c zone=a",
        ),
    )(component)
    command(
        group,
        "provider",
        aliases=("providers",),
        examples=(
            "trellis start provider http-server web",
            "trellis start provider keyvalue-nats kv --host crimson-meadow-4211 --config kv-settings",
        ),
    )(provider)
