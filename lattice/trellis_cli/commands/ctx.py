"""`trellis ctx list|show|use|new|edit|del`: saved ways to reach a lattice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.output import Report
from trellis_cli.targets import FIELDS
from trellis_lattice.errors import RequestInvalid

if TYPE_CHECKING:
    from trellis_cli.contexts import ContextStore

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The context; `nats/NAME` and `wash/NAME` mean theirs.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="The context.")]


def list_contexts(cli: Cli) -> None:
    """List saved contexts: our own, those of the `nats` command, and those of wash."""
    from trellis_cli.output.contexts import ContextLine, contexts_document

    store = _store(cli)
    selected = store.selected
    lines = [ContextLine(one.title, one.kind, one.title == selected, one.values) for one in store.list()]
    cli.terminal.emit(contexts_document(lines))


def show(
    cli: Cli,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="This context alone; default: all in effect.")
    ] = None,
) -> None:
    """Show what is in effect, and where each value comes from: option, environment, context, `trellis up`, default.

    Secrets are not shown.
    """
    from trellis_cli.connecting import environ_of, find_target
    from trellis_cli.output.contexts import effective_document
    from trellis_cli.targets import Value

    store = _store(cli)
    environ = environ_of(cli.settings)
    chosen = name or cli.settings.context or environ.get("TRELLIS_CONTEXT") or store.selected
    values = store.get(name).layer() if name is not None else find_target(cli.settings).values
    if cli.settings.timeout is not None:
        origin = "--timeout or TRELLIS_TIMEOUT"
    else:
        origin = "WASMCLOUD_CTL_TIMEOUT_MS" if environ.get("WASMCLOUD_CTL_TIMEOUT_MS") else "default"
    cli.terminal.emit(effective_document(chosen, values, Value(f"{cli.settings.patience():g}s", origin)))


def use(
    cli: Cli,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The context; `none`: no context from now on.")],
) -> None:
    """Make a context the one for every command that does not say otherwise."""
    store = _store(cli)
    store.select(None if name == "none" else name)
    cli.terminal.emit(Report({"selected": store.selected}, names=[store.selected or ""]))
    cli.terminal.note(f"Context `{store.selected}` is selected." if store.selected else "No context is selected.")


def new(cli: Cli, name: NewName) -> None:
    """Save how to reach a lattice, as the options of this command say it (--nats-url, --lattice, --creds, …)."""
    values = _given(cli)
    if not values:
        raise RequestInvalid("Nothing was said of this context.", remedy="For example: --nats-url nats://10.0.0.5:4222")
    context = _store(cli).save(name, values, replace=False)
    cli.terminal.emit(Report({"name": context.name, "path": str(context.path)}, names=[context.name]))
    cli.terminal.note(f"Saved. Use it with --context {name}, or for every command: trellis ctx use {name}")


def edit(
    cli: Cli,
    name: NewName,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", metavar="OPTION", help="Forget this; may be repeated.")
    ] = None,
) -> None:
    """Change what the options of this command say; the rest of the context stays."""
    forgotten = {text.lstrip("-").replace("-", "_") for text in unset or ()}
    if unknown := forgotten - FIELDS.keys():
        raise RequestInvalid(f"A context has no {', '.join(sorted(unknown))}.", remedy=f"It has: {', '.join(FIELDS)}.")
    changes = _given(cli)
    if not changes and not forgotten:
        raise RequestInvalid("Nothing is to be changed.", remedy="For example: --lattice blue, or --unset creds")
    store = _store(cli)
    old = store.own(name)
    kept = {key: value for key, value in old.values.items() if key not in forgotten}
    context = store.save(name, {**kept, **changes}, replace=True)
    cli.terminal.emit(Report({"name": context.name, "path": str(context.path)}, names=[context.name]))
    cli.terminal.note("Saved.")


def delete(cli: Cli, name: NewName) -> None:
    """Forget a context of our own."""
    _store(cli).delete(name)
    cli.terminal.emit(Report({"deleted": name}, names=[name]))
    cli.terminal.note(f"Context `{name}` is gone.")


def _store(cli: Cli) -> ContextStore:
    from trellis_cli.connecting import environ_of
    from trellis_cli.contexts import ContextStore

    return ContextStore(environ_of(cli.settings))


def _given(cli: Cli) -> dict[str, str]:
    """What this command line says of a connection; files by their full path."""
    from pathlib import Path

    from trellis_cli.connecting import option_layer

    given = {name: value.value for name, value in option_layer(cli.settings).items()}
    files = ("creds", "tls_ca", "tls_cert", "tls_key")
    return {name: str(Path(value).expanduser().absolute()) if name in files else value for name, value in given.items()}


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    command(group, "list", examples=("trellis ctx list", "trellis ctx list -o name"), aliases=("ls",))(list_contexts)
    command(group, "show", examples=("trellis ctx show", "trellis ctx show prod"))(show)
    command(group, "use", examples=("trellis ctx use prod", "trellis ctx use none"), aliases=("default", "select"))(use)
    examples = (
        "trellis ctx new staging --nats-url nats://10.0.0.5:4222",
        "trellis ctx new prod --nats-url tls://nats-1:4222 --creds prod.creds --lattice blue",
    )
    command(group, "new", examples=examples)(new)
    command(
        group,
        "edit",
        examples=("trellis ctx edit prod --lattice blue", "trellis ctx edit prod --js-domain hub --unset creds"),
    )(edit)
    command(group, "del", examples=("trellis ctx del prod", "trellis ctx del prod -o json"), aliases=("delete", "rm"))(
        delete
    )
