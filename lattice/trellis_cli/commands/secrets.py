"""`trellis secrets put|get|del`: references to secrets. Their values are kept by a backend and never come here."""

from __future__ import annotations

from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.commands.link import IgnoreMissing
from trellis_cli.commands.start import Force
from trellis_cli.lattice import open_lattice
from trellis_cli.output import Report

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret; the prefix SECRET_ may be left out.")]


async def put(
    cli: Cli,
    name: Name,
    backend: Annotated[str, typer.Argument(metavar="BACKEND", help="Which secrets backend holds it, e.g. nats-kv.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its key there.")],
    field: Annotated[
        str | None, typer.Option("--field", metavar="FIELD", help="Field of a secret that has some.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("-v", "--version", metavar="VERSION", help="Version; default: the newest.")
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="KEY=VALUE", help="For the backend's policy; may be repeated."),
    ] = None,
    force: Force = False,
) -> None:
    """Store a reference to a secret: where its value is, never the value itself."""
    from trellis_cli.commands.config import change_config
    from trellis_cli.configs import reference, secret_key, secret_name
    from trellis_cli.labels import parse_pairs

    stored = reference(
        name, backend, key, field=field, version=version, properties=parse_pairs(properties or (), "property")
    )
    async with open_lattice(cli.settings) as lattice:
        message = await change_config(lattice, secret_key(name), stored, force=force)
    plain = secret_name(name)
    cli.terminal.emit(Report({"message": message, "name": plain}, names=[plain]))
    cli.terminal.note(f"Stored a reference to secret `{plain}`. Workloads name it as config `{secret_key(name)}`.")


async def get(cli: Cli, name: Name) -> None:
    """Print a reference to a secret: its backend and key there, never its value."""
    from trellis_cli.configs import secret_key, secret_name
    from trellis_cli.output.state import config_document
    from trellis_lattice.errors import NotFound

    async with open_lattice(cli.settings) as lattice:
        values = await lattice.client.config(secret_key(name), timeout=lattice.timeout)
        if values is None:
            raise NotFound(
                f"There is no secret `{secret_name(name)}` in lattice `{lattice.name}`.",
                remedy="List: trellis get secrets",
            )
    cli.terminal.write(config_document(values, cli.terminal.format))


async def delete(cli: Cli, name: Name, force: Force = False, ignore_missing: IgnoreMissing = False) -> None:
    """Delete a reference to a secret. The secret itself stays where it is."""
    from trellis_cli.commands.config import drop_config
    from trellis_cli.configs import secret_key, secret_name

    async with open_lattice(cli.settings) as lattice:
        message = await drop_config(
            cli, lattice, secret_key(name), "reference to secret", force=force, ignore_missing=ignore_missing
        )
    plain = secret_name(name)
    cli.terminal.emit(Report({"message": message, "name": plain}, names=[plain]))


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(
        group,
        "put",
        examples=(
            "trellis secrets put db-password nats-kv prod/db --field password",
            "trellis secrets put token vault app/token --version 3 --property role=reader",
        ),
    )(put)
    command(group, "get", examples=("trellis secrets get db-password", "trellis secrets get db-password -o json"))(get)
    command(
        group,
        "del",
        aliases=("delete",),
        examples=("trellis secrets del db-password", "trellis secrets del db-password --ignore-missing"),
    )(delete)
