"""`trellis keys gen|show|list`: nkeys, as NATS and wasmCloud use them."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.output import Column, Listing, Report, align
from trellis_lattice.errors import ConfigError, Conflict, NotFound, RequestInvalid, TrellisError
from trellis_lattice.nkeys import KeyPair, Role, role_of

__all__ = ["register"]


class Kind(enum.StrEnum):
    """What a key is for; `module` and `service` are v1's words, `server` is NATS's."""

    HOST = "host"
    ACCOUNT = "account"
    USER = "user"
    COMPONENT = "component"
    PROVIDER = "provider"
    OPERATOR = "operator"
    CLUSTER = "cluster"
    CURVE = "curve"
    SERVER = "server"
    MODULE = "module"
    SERVICE = "service"

    @property
    def role(self) -> Role:
        synonyms = {"server": Role.HOST, "module": Role.COMPONENT, "service": Role.PROVIDER}
        return synonyms.get(self.value) or Role[self.name]


Directory = Annotated[
    Path | None,
    typer.Option("--directory", metavar="DIR", help="Where keys are kept; default: ~/.config/trellis/keys."),
]


def gen(
    cli: Cli,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=f"One of: {', '.join(Kind)}.")],
    save: Annotated[
        str | None, typer.Option("--save", metavar="NAME", help="Keep it in the directory under this name.")
    ] = None,
    directory: Directory = None,
) -> None:
    """Make a key. Its seed is shown once, unless it is kept with --save; whoever has the seed is its owner."""
    pair = KeyPair.from_bytes(kind.role, os.urandom(32))
    if save is not None:
        path = _keep(_folder(cli, directory), save, pair.seed)
        cli.terminal.emit(
            Report({"public_key": pair.public, "path": str(path)}, text=f"{pair.public}\n", names=[pair.public])
        )
        cli.terminal.note(f"Its seed is in {path}.")
        return
    rows = [["public key", pair.public], ["seed", pair.seed]]
    cli.terminal.emit(Report({"public_key": pair.public, "seed": pair.seed}, text=align(rows), names=[pair.public]))
    cli.terminal.note("Keep the seed secret; the public key says who you are.")


def show(
    cli: Cli,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="A public key, the name of a kept key, or a file with a seed.")
    ],
    directory: Directory = None,
) -> None:
    """Show the public key and the kind of a key. A seed is not shown."""
    public = _public(key, _folder(cli, directory))
    kind = _kind(public)
    cli.terminal.emit(
        Report(
            {"public_key": public, "kind": kind}, text=align([["public key", public], ["kind", kind]]), names=[public]
        )
    )


def list_keys(cli: Cli, directory: Directory = None) -> None:
    """List the keys that are kept."""
    folder = _folder(cli, directory)
    rows, items = [], []
    for path in sorted(folder.glob("*.nk")) if folder.is_dir() else ():
        try:
            public = KeyPair.from_seed(path.read_text()).public
        except (OSError, TrellisError):
            cli.terminal.note(f"{path} holds no seed that can be read.")
            continue
        rows.append([path.stem, _kind(public), public])
        items.append({"name": path.stem, "kind": _kind(public), "public_key": public, "path": str(path)})
    columns = [Column("Name"), Column("Kind"), Column("Public key")]
    names = [row[0] for row in rows]
    cli.terminal.emit(Listing("keys", columns, rows, items, names, empty=f"No key is kept in {folder}."))


def _kind(public: str) -> str:
    return role_of(public).name.lower()


def _public(text: str, folder: Path) -> str:
    if len(text) == 56 and text.isalnum() and text.isupper():
        role_of(text)
        return text
    if len(text) == 58 and text.startswith("S") and text.isalnum():
        return KeyPair.from_seed(text).public
    for path in (folder / f"{text}.nk", Path(text).expanduser()):
        if path.is_file():
            return KeyPair.from_seed(path.read_text()).public
    raise NotFound(f"There is no key `{text[:80]}`.", remedy="List: trellis keys list")


def _keep(folder: Path, name: str, seed: str) -> Path:
    if not name or "/" in name or name.startswith("."):
        raise RequestInvalid(f"{name[:80]!r} is no name for a key.")
    path = folder / f"{name}.nk"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(seed + "\n")
    except FileExistsError:
        raise Conflict(f"There is a key `{name}` already: {path}.", remedy="Choose another name.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def _folder(cli: Cli, directory: Path | None) -> Path:
    from trellis_cli.connecting import environ_of
    from trellis_cli.settings import config_dir

    return directory or config_dir(environ_of(cli.settings)) / "keys"


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(group, "gen", examples=("trellis keys gen user", "trellis keys gen account --save acme"))(gen)
    command(group, "show", examples=("trellis keys show acme", "trellis keys show ./user.nk"), aliases=("get",))(show)
    command(group, "list", examples=("trellis keys list", "trellis keys list -o name"), aliases=("ls",))(list_keys)
