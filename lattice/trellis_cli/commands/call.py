"""`trellis call COMPONENT INTERFACE.FUNCTION ARGS…`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.exits import ExitCode
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report
from trellis_lattice.errors import NotFound

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_lattice.wit.types import InterfaceType

__all__ = ["register"]

_TIMEOUT = 30.0
_SOURCE = "trellis-cli"


async def call(
    cli: Cli,
    component: Annotated[str, typer.Argument(metavar="COMPONENT", help="Id of a running component.")],
    function: Annotated[
        str, typer.Argument(metavar="INTERFACE.FUNCTION", help="E.g. ns:pkg/iface.func; iface.func will do if unique.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="JSON, by WIT type; text may go without quotes.")
    ] = None,
) -> ExitCode:
    """Call a function of a component, with typed arguments, and print its result as JSON.

    Put -- before arguments that start with a dash. A function that answers an error (the `err` of a WIT result)
    ends this with exit code 1. --timeout bounds the call (default 30s).
    """
    from trellis_cli.signatures import find_function, read_arguments
    from trellis_lattice.invocation.api import Call
    from trellis_lattice.invocation.standalone import open_invoker
    from trellis_lattice.wit.json import args_from_json, to_json
    from trellis_lattice.wit.values import Err

    timeout = cli.settings.patience(_TIMEOUT)
    deadline = asyncio.get_running_loop().time() + timeout
    async with open_lattice(cli.settings, min(timeout, 5.0)) as lattice:
        wanted = find_function(await _exports(lattice, component), function, component)
        args = args_from_json(wanted.type, read_arguments(wanted, arguments or []))
        async with open_invoker(lattice.client.connection, lattice.name) as invoker:
            with cli.terminal.progress(f"Calling {wanted.full_name}"):
                value = await invoker.invoke(
                    Call(component, wanted.interface, wanted.name, args, wanted.type, deadline, _SOURCE)
                )
    result = to_json(wanted.type.result, value)
    refused = isinstance(value, Err)
    text = "" if wanted.type.result is None else json.dumps(result, indent=2, ensure_ascii=False)
    cli.terminal.emit(Report({"result": result}, text=text), success=not refused)
    return ExitCode.FAILED if refused else ExitCode.OK


async def _exports(lattice: Lattice, component: str) -> Mapping[str, InterfaceType]:
    """What the running component exports. Raises `NotFound` listing the components there are."""
    from trellis_lattice.invocation.description import ask_description

    deadline = asyncio.get_running_loop().time() + lattice.timeout
    try:
        return await ask_description(lattice.client.connection, lattice.name, component, deadline=deadline)
    except NotFound:
        running = {item.id for host in await lattice.inventories() for item in host.components}
        listed = f"Running: {', '.join(sorted(running))}." if running else "No component runs: trellis app deploy FILE."
        raise NotFound(f"No host of lattice `{lattice.name}` runs a component `{component}`.", remedy=listed) from None


def register(app: typer.Typer) -> None:
    """Adds the command."""
    examples = (
        "trellis call pipeline-words example:pipeline/words.count 'to be or not to be'",
        'trellis call greeter greet.greet \'{"name": "Ada"}\' -o json',
    )
    command(app, "call", examples=examples, panel="Run")(call)
