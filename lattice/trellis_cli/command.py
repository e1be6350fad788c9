"""How a function becomes a command: common options in, exit code out.

The laws of this file: every command has the same common options, before or after its name; every command
ends with a documented exit code; a `TrellisError` becomes a sentence and a remedy. Examples stand in the
help of every command.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from trellis_cli.exits import ExitCode, exit_code
from trellis_cli.output import Format, parse_duration
from trellis_cli.settings import Settings
from trellis_cli.targets import FIELDS, v1_timeout
from trellis_cli.terminal import Terminal
from trellis_lattice.errors import RequestInvalid, TrellisError

__all__ = ["COMMON_PANEL", "Cli", "command", "common_options", "group", "remember", "run_async"]

COMMON_PANEL = "Options of every command"
_CONNECTION = "Connection to NATS"
_TAKEN_FOR_GRANTED = 1.0
"""Seconds without a word after which people wonder."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Cli:
    """What a command gets: the common options, and the terminal to answer on."""

    settings: Settings
    terminal: Terminal


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except RequestInvalid as error:
        raise typer.BadParameter(str(error)) from None


def _text(*names: str, metavar: str, help: str, panel: str = COMMON_PANEL) -> Any:
    """An option that `connecting` looks for elsewhere, too: its variable is only shown here."""
    variable = next(FIELDS[key] for key in map(_key, names) if key in FIELDS) if "--context" not in names else None
    shown = f"{help} [{variable or 'TRELLIS_CONTEXT'}]"
    return Annotated[str | None, typer.Option(*names, metavar=metavar, help=shown, rich_help_panel=panel)]


def _key(name: str) -> str:
    return name.lstrip("-").replace("-", "_")


_OPTIONS: dict[str, Any] = {
    "output": Annotated[
        Format | None,
        typer.Option(
            "-o",
            "--output",
            help="How to answer; default: table.",
            envvar="TRELLIS_OUTPUT",
            rich_help_panel=COMMON_PANEL,
        ),
    ],
    "lattice": _text("-x", "--lattice", metavar="NAME", help="The lattice; default: default."),
    "nats_url": _text(
        "--nats-url",
        metavar="URL",
        help="NATS servers, separated by commas; default: that of the running `trellis up`, else "
        "nats://127.0.0.1:4222.",
    ),
    "context": _text("--context", metavar="NAME", help="A saved connection: `trellis ctx list`."),
    "timeout": Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            help="How long to wait: 500ms, 30s, 2m; a bare number is seconds.",
            envvar="TRELLIS_TIMEOUT",
            rich_help_panel=COMMON_PANEL,
        ),
    ],
    "no_color": Annotated[
        bool,
        typer.Option("--no-color", metavar="", help="No colours (also: NO_COLOR).", rich_help_panel=COMMON_PANEL),
    ],
    "creds": _text("--creds", "--ctl-credsfile", metavar="FILE", help="NATS credentials file.", panel=_CONNECTION),
    "nats_user": _text("--nats-user", metavar="NAME", help="NATS user.", panel=_CONNECTION),
    "nats_password": _text("--nats-password", metavar="TEXT", help="Its password.", panel=_CONNECTION),
    "nats_token": _text("--nats-token", metavar="TEXT", help="NATS token.", panel=_CONNECTION),
    "nats_jwt": _text("--nats-jwt", "--ctl-jwt", metavar="JWT", help="JWT of a NATS user.", panel=_CONNECTION),
    "nats_seed": _text(
        "--nats-seed", "--ctl-seed", metavar="SEED", help="Seed (SU…) of that user, or of an nkey.", panel=_CONNECTION
    ),
    "tls_ca": _text(
        "--tls-ca", "--ctl-tls-ca-file", metavar="FILE", help="CA of the server's certificate.", panel=_CONNECTION
    ),
    "tls_cert": _text("--tls-cert", metavar="FILE", help="Our certificate, for servers that ask.", panel=_CONNECTION),
    "tls_key": _text("--tls-key", metavar="FILE", help="Its key.", panel=_CONNECTION),
    "tls_first": Annotated[
        bool | None,
        typer.Option(
            "--tls-first",
            "--ctl-tls-first",
            metavar="",
            help=f"TLS before the server greets. [{FIELDS['tls_first']}]",
            rich_help_panel=_CONNECTION,
        ),
    ],
    "js_domain": _text("--js-domain", metavar="NAME", help="JetStream domain.", panel=_CONNECTION),
}
_DEFAULTS: dict[str, Any] = {name: False if name == "no_color" else None for name in _OPTIONS}


def common_options() -> list[inspect.Parameter]:
    """The common options as parameters that typer understands."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, kind, default=_DEFAULTS[name], annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]


def remember(context: typer.Context, given: dict[str, Any]) -> None:
    """Keeps the options given before the command's name, for the command to find."""
    context.obj = _merge(Settings(), given)


def _merge(base: Settings, given: dict[str, Any]) -> Settings:
    updates = {name: value for name, value in given.items() if name not in ("timeout", "no_color")}
    updates |= {"timeout": _seconds(given["timeout"]), "color": False if given["no_color"] else None}
    return replace(base, **{key: value for key, value in updates.items() if value is not None})


def group(help: str, cls: type[TyperGroup] | None = None) -> typer.Typer:
    """A noun with commands below it; `cls` parses their arguments in another way."""
    return typer.Typer(cls=cls, help=help, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def command(
    app: typer.Typer,
    name: str,
    *,
    examples: Sequence[str],
    aliases: Sequence[str] = (),
    panel: str | None = None,
    asks: bool = True,
) -> Callable[[F], F]:
    """Registers `function(cli, …) -> ExitCode | None`, plain or async, as a command of `app`.

    One that `asks` shows on a terminal that it waits, as long as it has said nothing itself.
    """

    def register(function: F) -> F:
        wrapped = _with_common_options(function, asks)
        epilog = "\n\n".join(["Examples:", *examples])
        app.command(name, epilog=epilog, rich_help_panel=panel)(wrapped)
        for alias in aliases:
            app.command(alias, epilog=epilog, hidden=True)(wrapped)
        return function

    return register


def _with_common_options(function: Callable[..., Any], asks: bool) -> Callable[..., None]:
    signature = inspect.signature(function, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in list(signature.parameters.values())[1:]]
    context = inspect.Parameter("typer_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    def wrapped(**given: Any) -> None:
        common = {key: given.pop(key) for key in _OPTIONS}
        outer = given.pop("typer_context").obj
        settings = _merge(outer if isinstance(outer, Settings) else Settings(), common)
        cli = Cli(settings, Terminal(settings.output, settings.color))
        code = _outcome(cli, function, given, asks)
        raise typer.Exit(int(code))

    parameters = [context, *own, *common_options()]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    wrapped.__doc__, wrapped.__name__ = _flowing(function.__doc__ or ""), function.__name__
    return wrapped


def _flowing(text: str) -> str:
    """Paragraphs without the line breaks of the source: the help is as wide as the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _outcome(cli: Cli, function: Callable[..., Any], given: dict[str, Any], asks: bool) -> ExitCode:
    try:
        if (seconds := v1_timeout(os.environ)) is not None:
            cli.settings = replace(cli.settings, request_timeout=seconds)
        result = function(cli, **given)
        if inspect.isawaitable(result):
            result = run_async(_patiently(result, cli.terminal) if asks else result)
    except TrellisError as error:
        cli.terminal.fail(error)
        return exit_code(error)
    return ExitCode.OK if result is None else ExitCode(result)


async def _patiently(work: Awaitable[Any], terminal: Terminal) -> Any:
    """Waits for `work`, and says so once that takes longer than people take for granted."""
    sign = asyncio.get_running_loop().call_later(_TAKEN_FOR_GRANTED, terminal.passing, "Waiting for an answer …")
    try:
        return await work
    finally:
        sign.cancel()
        terminal.settle()


def run_async(work: Awaitable[Any]) -> Any:
    """Runs `work` on an event loop of its own; Ctrl-C cancels it and raises `KeyboardInterrupt`."""

    async def main() -> Any:
        return await work

    return asyncio.run(main())
