"""`trellis`: the application, its nouns, and what happens to errors nobody expected."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from typing import Annotated, Any

import typer

from trellis_cli.command import common_options, group, remember
from trellis_cli.commands import app as application
from trellis_cli.commands import (
    backup,
    call,
    config,
    ctx,
    describe,
    doctor,
    events,
    fleet,
    get,
    host,
    inspect_file,
    keys,
    label,
    link,
    logs,
    scale,
    secrets,
    sim,
    spy,
    start,
    stop,
    trace,
    up,
    update,
    version,
    wait,
)
from trellis_cli.exits import ExitCode
from trellis_cli.output import Format
from trellis_cli.terminal import Terminal
from trellis_cli.watching import WatchGroup
from trellis_lattice.errors import RequestInvalid, TrellisError

__all__ = ["build", "main"]

_ABOUT = (
    "A distributed actor mesh for WebAssembly components.\n\n"
    "Start a lattice with `trellis up`, deploy an application with `trellis app deploy wadm.yaml`, look around with "
    "`trellis get`. Exit codes and the environment are described in docs/cli.md."
)
_BY_HAND: tuple[tuple[str, str, Any], ...] = (
    ("start", "Start a component or a provider, without a manifest.", start),
    ("stop", "Stop a component, a provider or a host.", stop),
    ("scale", "Say how many invocations of a component a host may run.", scale),
    ("update", "Replace the image of a component.", update),
    ("link", "Say what answers the calls of a component or provider.", link),
    ("config", "Named configuration of components, providers and links.", config),
    ("secrets", "References to secrets that a backend keeps.", secrets),
)
"""Verbs with nouns, and nouns with verbs: what is done without a manifest."""
_TOOLS: tuple[tuple[str, str, Any], ...] = (
    ("ctx", "Saved ways to reach a lattice.", ctx),
    ("keys", "Keys of hosts, accounts, users and others.", keys),
)
_ALIASES = {"link": ("links",), "config": ("configs",), "secrets": ("secret",)}


def build() -> typer.Typer:
    """The whole command tree."""
    root = typer.Typer(
        name="trellis",
        help=_ABOUT,
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root_callback())
    up.register(root)
    host_group = group("Run one host of a lattice.")
    host.register(host_group)
    root.add_typer(host_group, name="host", rich_help_panel="Run")
    get_group = group("Show what there is: hosts, components, providers, links, apps, config, events.", WatchGroup)
    get.register(get_group)
    root.add_typer(get_group, name="get", rich_help_panel="Look")
    describe_group = group("Show everything known of one thing, on one page.")
    describe.register(describe_group)
    root.add_typer(describe_group, name="describe", rich_help_panel="Look")
    app_group = group("Applications: check, look ahead, deploy, ask why, go back.", WatchGroup)
    application.register(app_group)
    root.add_typer(app_group, name="app", rich_help_panel="Applications")
    root.add_typer(app_group, name="apps", hidden=True)
    for name, help, noun in _BY_HAND:
        by_hand = group(help)
        noun.register(by_hand)
        root.add_typer(by_hand, name=name, rich_help_panel="By hand")
        for alias in _ALIASES.get(name, ()):
            root.add_typer(by_hand, name=alias, hidden=True)
    for each in (fleet, label, wait, events, logs, spy):
        each.register(root)
    call.register(root)
    trace.register(root)
    inspect_file.register(root)
    sim.register(root)
    doctor.register(root)
    backup.register(root)
    for name, help, noun in _TOOLS:
        tools = group(help)
        noun.register(tools)
        root.add_typer(tools, name=name, rich_help_panel="Set up")
    version.register(root)
    return root


def _narrowed(root: typer.Typer, arguments: list[str]) -> typer.Typer:
    """`root` with nothing but what the first argument names, if it names something.

    typer works out every option of every command that it is given: a fifth of a second for the whole tree.
    """
    first = arguments[0] if arguments else ""
    commands = [each for each in root.registered_commands if each.name == first]
    groups = [each for each in root.registered_groups if each.name == first]
    if commands or groups:
        root.registered_commands, root.registered_groups = commands, groups
    return root


def _print_version(asked: bool) -> None:
    if asked:
        from trellis_cli.versions import trellis_version

        typer.echo(f"trellis {trellis_version()}")
        raise typer.Exit


_VERSION = Annotated[
    bool,
    typer.Option(
        "--version", metavar="", help="Print the version; `trellis version` says more.", callback=_print_version
    ),
]


def _root_callback() -> Any:
    def trellis(**given: Any) -> None:
        context = given.pop("typer_context")
        given.pop("version")
        remember(context, given)

    kind = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("typer_context", kind, annotation=typer.Context)
    version = inspect.Parameter("version", kind, default=False, annotation=_VERSION)
    parameters = [context, version, *common_options()]
    trellis.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    trellis.__annotations__ = {p.name: p.annotation for p in parameters}
    trellis.__doc__ = _ABOUT
    return trellis


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `trellis` script; always leaves by `SystemExit`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _quieten_logs()
    try:
        code = _narrowed(build(), arguments)(arguments, prog_name="trellis", standalone_mode=False)
    except typer.TyperException as error:
        code = _usage(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.FAILED
    except Exception as error:
        code = _unexpected(error, arguments)
    sys.exit(int(code) if isinstance(code, int) else ExitCode.OK)


def _quieten_logs() -> None:
    """What libraries log is for hosts; a command says what there is to say itself."""
    if os.environ.get("TRELLIS_DEBUG"):
        logging.basicConfig(level=logging.DEBUG)
    elif not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())


def _usage(error: typer.TyperException, arguments: list[str]) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "trellis"
    text = error.format_message()
    if text:
        Terminal(_format(arguments)).fail(RequestInvalid(text, remedy=f"Help: {path} --help"))
    return ExitCode.USAGE


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """A fault of our own: said in one sentence; the traceback only on request."""
    if os.environ.get("TRELLIS_DEBUG"):
        import traceback

        traceback.print_exception(error)
    Terminal(_format(arguments)).fail(
        TrellisError(
            f"trellis failed unexpectedly: {type(error).__name__}: {error}",
            remedy="This is a fault of trellis. TRELLIS_DEBUG=1 shows where; please report it.",
        )
    )
    return ExitCode.FAILED


def _format(arguments: list[str]) -> Format:
    """The format asked for on a command line that could not be parsed."""
    wanted = os.environ.get("TRELLIS_OUTPUT", "table")
    for here, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if here in ("-o", "--output"):
            wanted = following
        elif here.startswith("--output="):
            wanted = here.partition("=")[2]
        elif here.startswith("-o") and not here.startswith("--"):
            wanted = here[2:]
    try:
        return Format(wanted)
    except ValueError:
        return Format.TABLE
