"""`trellis get …`: what there is in a lattice."""

from __future__ import annotations

from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice

__all__ = ["register"]

Host = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST", help="Only on this host: id, beginning of an id, or friendly name."),
]


async def hosts(cli: Cli) -> None:
    """List the hosts that answer, with their labels and versions."""
    from trellis_cli.output.lattice import hosts as listing

    async with open_lattice(cli.settings) as lattice:
        cli.terminal.emit(listing(await lattice.hosts(), lattice.name))


async def inventory(
    cli: Cli,
    host: Annotated[
        str | None, typer.Argument(metavar="[HOST]", help="Id, beginning of an id, or friendly name; default: all.")
    ] = None,
) -> None:
    """Show everything that runs, host by host."""
    from trellis_cli.output.lattice import inventories as listing

    async with open_lattice(cli.settings) as lattice:
        cli.terminal.emit(listing(await lattice.inventories(host), lattice.name))


async def components(cli: Cli, host: Host = None) -> None:
    """List the components that run, and on which hosts."""
    from trellis_cli.output.lattice import components as listing

    async with open_lattice(cli.settings) as lattice:
        cli.terminal.emit(listing(await lattice.inventories(host), lattice.name))


async def providers(cli: Cli, host: Host = None) -> None:
    """List the providers that run, and on which hosts."""
    from trellis_cli.output.lattice import providers as listing

    async with open_lattice(cli.settings) as lattice:
        cli.terminal.emit(listing(await lattice.inventories(host), lattice.name))


async def links(
    cli: Cli,
    of: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only those from or to this component or provider.")
    ] = None,
) -> None:
    """List the links between components and providers, and whether their calls stayed on a host."""
    from trellis_cli.output.lattice import links as listing

    async with open_lattice(cli.settings) as lattice:
        found, hosts = await lattice.links(), await lattice.inventories()
        shown = [link for link in found if of in (None, link.source_id, link.target)]
        cli.terminal.emit(listing(shown, hosts, lattice.name))


async def config(
    cli: Cli, name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one; default: all.")] = None
) -> None:
    """List named configuration and its values."""
    from trellis_cli.output.lattice import configs as listing

    async with open_lattice(cli.settings) as lattice:
        cli.terminal.emit(listing(await lattice.configs(name), lattice.name))


async def apps(cli: Cli) -> None:
    """List the applications that are stored, and what is deployed of them."""
    from trellis_cli.commands.app import list_

    await list_(cli)


def register(group: typer.Typer) -> None:
    """Adds the commands, in singular and plural."""
    command(group, "hosts", aliases=("host",), examples=("trellis get hosts", "trellis get hosts -o name"))(hosts)
    command(
        group,
        "inventory",
        aliases=("inventories",),
        examples=("trellis get inventory", "trellis get inventory NDX4 -o json"),
    )(inventory)
    command(
        group,
        "components",
        aliases=("component",),
        examples=("trellis get components", "trellis get components --host crimson-meadow-42"),
    )(components)
    command(
        group, "providers", aliases=("provider",), examples=("trellis get providers", "trellis get providers -o wide")
    )(providers)
    command(group, "links", aliases=("link",), examples=("trellis get links", "trellis get links my_app-counter"))(
        links
    )
    command(group, "apps", aliases=("app",), examples=("trellis get apps", "trellis get apps -o json"))(apps)
    command(
        group,
        "config",
        aliases=("configs",),
        examples=("trellis get config", "trellis get config my_app-listen -o json"),
    )(config)
