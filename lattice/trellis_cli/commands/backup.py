"""`trellis backup` and `trellis restore`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.exits import ExitCode
from trellis_cli.output import Report
from trellis_lattice.errors import ConfigError, NotFound

__all__ = ["register"]

_PATIENCE = 60.0


async def backup(
    cli: Cli, file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not exist.")]
) -> None:
    """Write what JetStream keeps of the lattice to a file: links, configuration, applications with their versions."""
    from trellis_cli.backups import encode, read_state
    from trellis_cli.lattice import open_lattice

    async with open_lattice(cli.settings, cli.settings.patience(_PATIENCE)) as lattice:
        deadline = asyncio.get_running_loop().time() + lattice.timeout
        state = await read_state(lattice.client.connection, lattice.name, deadline=deadline)
    _write(file, encode(lattice.name, state))
    counts = {name: len(entries) for name, entries in state.items()}
    cli.terminal.emit(Report({"file": str(file), "lattice": lattice.name, "keys": counts}, names=[str(file)]))
    cli.terminal.note(f"Wrote {sum(counts.values())} keys of lattice `{lattice.name}` to {file}.")


def _write(file: Path, text: str) -> None:
    """For its user alone: configuration may hold what others should not see."""
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}.", remedy="Name another file.") from error


async def restore(
    cli: Cli,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `trellis backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", metavar="", help="Also replace what differs.")] = False,
) -> ExitCode:
    """Put back what a backup holds. What is there and differs is refused and named, unless --force is given."""
    from trellis_cli.backups import decode, write_state
    from trellis_cli.lattice import open_lattice

    try:
        name, state = decode(file.read_text())
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.", remedy="Check the path of the backup.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not a backup of a lattice.", remedy="Make one: trellis backup FILE") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", remedy="Name another file.") from error
    async with open_lattice(cli.settings, cli.settings.patience(_PATIENCE)) as lattice:
        deadline = asyncio.get_running_loop().time() + lattice.timeout
        done = await write_state(lattice.client.connection, lattice.name, state, force=force, deadline=deadline)
    data = {"lattice": name, "written": done.written, "unchanged": done.unchanged, "refused": done.refused}
    cli.terminal.emit(Report(data, names=done.written), success=not done.refused)
    cli.terminal.note(f"Keys written: {len(done.written)}; as they should be: {len(done.unchanged)}.")
    for key in done.refused:
        cli.terminal.note(f"warning: {key} differs from the backup and stays; --force replaces it.")
    return ExitCode.FAILED if done.refused else ExitCode.OK


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    command(
        app,
        "backup",
        examples=("trellis backup lattice.json", "trellis backup blue.json --lattice blue"),
        panel="Set up",
    )(backup)
    examples = ("trellis restore lattice.json", "trellis restore lattice.json --force")
    command(app, "restore", examples=examples, panel="Set up")(restore)
