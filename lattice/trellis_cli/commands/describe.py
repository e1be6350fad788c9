"""`trellis describe host|component|provider|link|app NAME`: everything known of one thing, on one page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.lattice import open_lattice

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_cli.output.describe import Known

__all__ = ["register"]


async def _known(lattice: Lattice) -> Known:
    """Everything that a page may speak of."""
    from trellis_cli.commands.events import recent_events
    from trellis_cli.output.describe import Known

    inventories = await lattice.inventories()
    configs = {**await lattice.configs(), **await lattice.secrets()}
    return Known(inventories, await lattice.links(), configs, await recent_events(lattice, None, len(inventories)))


async def host(
    cli: Cli, host: Annotated[str, typer.Argument(metavar="HOST", help="Id, beginning of an id, or friendly name.")]
) -> None:
    """Show a host: its labels, what it runs and what is wrong with it, what happened there."""
    from trellis_cli.output.describe import describe_host

    async with open_lattice(cli.settings) as lattice:
        info = await lattice.find_host(host)
        cli.terminal.emit(describe_host(info, await _known(lattice), cli.terminal.out_style))


async def component(cli: Cli, id: Annotated[str, typer.Argument(metavar="ID", help="The component.")]) -> None:
    """Show a component: where it runs, whom it calls and who calls it, its configuration, what happened to it."""
    await _workload(cli, "component", id)


async def provider(cli: Cli, id: Annotated[str, typer.Argument(metavar="ID", help="The provider.")]) -> None:
    """Show a provider: where it runs, its links and which of them it refuses, what happened to it."""
    await _workload(cli, "provider", id)


async def _workload(cli: Cli, kind: str, id: str) -> None:
    from trellis_cli.output.describe import describe_workload
    from trellis_cli.workloads import where

    async with open_lattice(cli.settings) as lattice:
        found = await where(lattice, kind, id, None)
        cli.terminal.emit(describe_workload(kind, id, found, await _known(lattice), cli.terminal.out_style))


async def link(
    cli: Cli,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Component or provider that calls.")],
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="What answers; default: all that SOURCE is linked to.")
    ] = None,
) -> None:
    """Show the links between two: whether each is in force and why not, its configuration, which way its calls went."""
    from trellis_cli.output.describe import describe_link
    from trellis_lattice.errors import NotFound

    async with open_lattice(cli.settings) as lattice:
        known = await _known(lattice)
        mine = [link for link in known.links if link.source_id == source]
        found = [link for link in mine if target in (None, link.target)]
        if not found:
            to = f" to {target}" if target else ""
            targets = ", ".join(sorted({link.target for link in mine}))
            raise NotFound(
                f"{source} has no link{to}.",
                remedy=f"It is linked to: {targets}." if targets else "trellis get links lists what there is.",
            )
        cli.terminal.emit(describe_link(found, known, cli.terminal.out_style))


async def app(cli: Cli, name: Annotated[str, typer.Argument(metavar="NAME", help="The application.")]) -> None:
    """Show an application: its status with every reason, what runs of it and where, its links, what happened to it."""
    from trellis_cli.applications import Applications
    from trellis_cli.output import Report
    from trellis_cli.output.applications import status_data, status_text
    from trellis_cli.output.describe import describe_application
    from trellis_cli.output.unmet import unmet_of

    async with open_lattice(cli.settings) as lattice:
        report = await Applications(lattice).status(name)
        known = await _known(lattice)
    style = cli.terminal.out_style
    unmet = unmet_of(report, known.host_names, time.time())
    text, data = describe_application(name, known, style)
    whole = {"application": {**status_data(name, report, unmet), **data}}
    cli.terminal.emit(Report(whole, text=status_text(name, report, unmet, style) + text, names=[name]))


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "host",
        aliases=("hosts",),
        examples=("trellis describe host crimson-meadow-4211", "trellis describe host NDX4 -o json"),
    )(host)
    for name, noun, example in (
        ("component", component, "my_app-counter"),
        ("provider", provider, "my_app-http"),
        ("link", link, "my_app-http my_app-counter"),
        ("app", app, "my-app"),
    ):
        examples = (f"trellis describe {name} {example}", f"trellis describe {name} {example} -o json")
        command(group, name, aliases=(f"{name}s",), examples=examples)(noun)
