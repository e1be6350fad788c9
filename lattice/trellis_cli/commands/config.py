"""`trellis config put|get|del`: named configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.link import IgnoreMissing
from trellis_cli.commands.start import Force
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice

__all__ = ["change_config", "drop_config", "register"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The configuration.")]
_MAX_FILE = 1024 * 1024


async def put(
    cli: Cli,
    name: Name,
    values: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="What it holds.")] = None,
    from_file: Annotated[
        str | None,
        typer.Option("--from-file", metavar="FILE", help="Values from a .env or JSON file; - is standard input."),
    ] = None,
    force: Force = False,
) -> None:
    """Store named configuration, in place of what it held before. What uses it sees the new values at once.

    Values of the command line win over those of a file.
    """
    from trellis_cli.labels import parse_pairs
    from trellis_lattice.config import check_user_name
    from trellis_lattice.errors import RequestInvalid

    check_user_name(name)
    given = {**_file(from_file), **parse_pairs(values or (), "value")}
    if not given and from_file is None:
        raise RequestInvalid("There is nothing to store.", remedy=f"trellis config put {name} KEY=VALUE …")
    async with open_lattice(cli.settings) as lattice:
        message = await change_config(lattice, name, given, force=force)
    cli.terminal.emit(Report({"message": message, "name": name}, names=[name]))
    cli.terminal.note(f"Stored configuration `{name}` ({len(given)} value{'' if len(given) == 1 else 's'}).")


async def get(cli: Cli, name: Name) -> None:
    """Print a named configuration. With -o json it is the bare object, as v1 prints it."""
    from trellis_cli.output.state import config_document

    async with open_lattice(cli.settings) as lattice:
        values = (await lattice.configs(name))[name]
    cli.terminal.write(config_document(values, cli.terminal.format))


async def delete(cli: Cli, name: Name, force: Force = False, ignore_missing: IgnoreMissing = False) -> None:
    """Delete a named configuration. What still uses it sees it empty."""
    from trellis_lattice.config import check_user_name

    check_user_name(name)
    async with open_lattice(cli.settings) as lattice:
        message = await drop_config(cli, lattice, name, "configuration", force=force, ignore_missing=ignore_missing)
    cli.terminal.emit(Report({"message": message, "name": name}, names=[name]))


async def change_config(lattice: Lattice, name: str, values: dict[str, str], *, force: bool) -> str:
    """Stores it; the message of the host. Raises `Conflict` if an application brought it, unless `force`."""
    if not force:
        await _refuse_managed(lattice, name, "changed")
    return await lattice.client.put_config(name, values, timeout=lattice.timeout)


async def drop_config(cli: Cli, lattice: Lattice, name: str, what: str, *, force: bool, ignore_missing: bool) -> str:
    """Deletes it and says so, and what still uses it. Raises `NotFound`, `Conflict`."""
    from trellis_lattice.errors import NotFound

    shown = name.removeprefix("SECRET_")
    if await lattice.client.config(name, timeout=lattice.timeout) is None:
        if not ignore_missing:
            raise NotFound(
                f"There is no {what} `{shown}` in lattice `{lattice.name}`.",
                remedy=f"List: trellis get {'secrets' if 'secret' in what else 'config'}",
            )
        cli.terminal.note(f"There was no {what} `{shown}`.")
        return "nothing to delete"
    if not force:
        await _refuse_managed(lattice, name, "deleted")
    users = await _users(lattice, name)
    message = await lattice.client.delete_config(name, timeout=lattice.timeout)
    cli.terminal.note(f"Deleted {what} `{shown}`.")
    if users:
        cli.terminal.note(f"warning: it was still used by {', '.join(users)}.")
    return message


async def _users(lattice: Lattice, name: str) -> list[str]:
    """The workloads and links that name it."""
    hosts = await lattice.inventories()
    found = {item.id for host in hosts for item in host.components if name in item.config}
    found |= {item.id for host in hosts for item in host.providers if name in item.config}
    for link in await lattice.links():
        if name in (*link.source_config, *link.target_config):
            found.add(f"the link {link.source_id} → {link.target}")
    return sorted(found)


async def _refuse_managed(lattice: Lattice, name: str, verb: str) -> None:
    from trellis_cli.managed import owner_of_config, read_ledger, refusal

    if name in (await read_ledger(lattice)).owned.configs:
        what = "Secret" if name.startswith("SECRET_") else "Configuration"
        owner = owner_of_config(name, await lattice.application_names())
        raise refusal(f"{what} `{name.removeprefix('SECRET_')}`", owner, verb)


def _file(name: str | None) -> dict[str, str]:
    """The values in a file. Raises `NotFound`, `RequestInvalid`."""
    import os
    import sys

    from trellis_cli.configs import parse_file
    from trellis_lattice.errors import NotFound, RequestInvalid

    if name is None:
        return {}
    try:
        if name == "-":
            data = sys.stdin.buffer.read(_MAX_FILE + 1)
        else:
            with Path(name).expanduser().open("rb") as file:
                data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise RequestInvalid(f"{name} is longer than {_MAX_FILE // 1024} KiB.")
        return parse_file(data.decode(), "standard input" if name == "-" else name)
    except FileNotFoundError:
        raise NotFound(f"There is no file {name}.", remedy="Check the path.") from None
    except OSError as error:
        raise RequestInvalid(f"{name} cannot be read: {os.strerror(error.errno or 0)}.") from None
    except UnicodeDecodeError:
        raise RequestInvalid(f"{name} is not text.", remedy="It must be UTF-8: KEY=VALUE lines, or JSON.") from None


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "put",
        examples=(
            "trellis config put web-address address=127.0.0.1:8080",
            "trellis config put settings --from-file .env mode=fast",
        ),
    )(put)
    command(group, "get", examples=("trellis config get web-address", "trellis config get web-address -o json"))(get)
    command(
        group,
        "del",
        aliases=("delete",),
        examples=("trellis config del web-address", "trellis config del web-address --ignore-missing"),
    )(delete)
