"""`trellis get …`: what there is in a lattice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.events import Kind, Since, Source, show_events
from trellis_cli.lattice import open_lattice
from trellis_cli.watching import Watch, watch

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_cli.output import Listing

__all__ = ["register", "show_links"]

Host = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST", help="Only on this host: id, beginning of an id, or friendly name."),
]


async def show(cli: Cli, every: str | None, question: Callable[[Lattice], Awaitable[Listing]]) -> None:
    """The answer once, or with `every` again and again."""
    async with open_lattice(cli.settings) as lattice:
        if every is None:
            cli.terminal.emit(await question(lattice))
        else:
            await watch(cli, every, lambda: question(lattice))


async def hosts(cli: Cli, watch: Watch = None) -> None:
    """List the hosts that answer, with their labels and versions."""
    from trellis_cli.output.lattice import hosts as listing

    async def question(lattice: Lattice) -> Listing:
        return listing(await lattice.hosts(), lattice.name)

    await show(cli, watch, question)


async def inventory(
    cli: Cli,
    host: Annotated[
        str | None, typer.Argument(metavar="[HOST]", help="Id, beginning of an id, or friendly name; default: all.")
    ] = None,
    watch: Watch = None,
) -> None:
    """Show everything that runs, host by host."""
    from trellis_cli.output.lattice import inventories as listing

    async def question(lattice: Lattice) -> Listing:
        return listing(await lattice.inventories(host), lattice.name)

    await show(cli, watch, question)


async def components(cli: Cli, host: Host = None, watch: Watch = None) -> None:
    """List the components that run, and on which hosts."""
    from trellis_cli.output.lattice import components as listing

    async def question(lattice: Lattice) -> Listing:
        return listing(await lattice.inventories(host), lattice.name)

    await show(cli, watch, question)


async def providers(cli: Cli, host: Host = None, watch: Watch = None) -> None:
    """List the providers that run, on which hosts, and what is wrong with them."""
    from trellis_cli.output.lattice import providers as listing

    async def question(lattice: Lattice) -> Listing:
        return listing(await lattice.inventories(host), lattice.name)

    await show(cli, watch, question)


async def links(
    cli: Cli,
    of: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Only those from or to this component or provider.")
    ] = None,
    watch: Watch = None,
) -> None:
    """List the links: whether each is in force, and whether its calls stayed on a host."""
    await show_links(cli, of, watch)


async def show_links(cli: Cli, of: str | None, every: str | None = None) -> None:
    """The links from or to `of`, or all."""
    from trellis_cli.output.state import links as listing

    async def question(lattice: Lattice) -> Listing:
        found, hosts = await lattice.links(), await lattice.inventories()
        return listing([link for link in found if of in (None, link.source_id, link.target)], hosts, lattice.name)

    await show(cli, every, question)


async def config(
    cli: Cli,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one; default: all.")] = None,
    watch: Watch = None,
) -> None:
    """List named configuration and its values."""
    from trellis_cli.output.state import configs as listing

    async def question(lattice: Lattice) -> Listing:
        return listing(await lattice.configs(name), lattice.name)

    await show(cli, watch, question)


async def secrets(cli: Cli, watch: Watch = None) -> None:
    """List the references to secrets: where the value of each is kept, never the value."""
    from trellis_cli.output.state import secrets as listing

    async def question(lattice: Lattice) -> Listing:
        return listing(await lattice.secrets(), lattice.name)

    await show(cli, watch, question)


async def claims(cli: Cli, watch: Watch = None) -> None:
    """List the claims of signed components and providers; what is not signed has none."""
    from trellis_cli.output.state import claims as listing

    async def question(lattice: Lattice) -> Listing:
        return listing(await lattice.client.claims(timeout=lattice.timeout), lattice.name)

    await show(cli, watch, question)


async def events(cli: Cli, watch: Watch = None, since: Since = None, type: Kind = None, source: Source = None) -> None:
    """Show what happened in a lattice; with --watch new events follow. The same as `trellis events`."""
    await show_events(cli, watch=watch is not None, since=since, kinds=type or [], source=source)


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
    command(group, "secrets", aliases=("secret",), examples=("trellis get secrets", "trellis get secrets -o json"))(
        secrets
    )
    command(group, "claims", aliases=("claim",), examples=("trellis get claims", "trellis get claims -o json"))(claims)
    command(group, "events", aliases=("event",), examples=("trellis get events", "trellis get events -w -o jsonl"))(
        events
    )
