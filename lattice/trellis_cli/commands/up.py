"""`trellis up` and `trellis down`."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.connecting import Target, find_target, without_connection
from trellis_cli.exits import ExitCode
from trellis_cli.hosting.sources import AllowedInsecure, AllowLatest, PolicyTopic, Sources
from trellis_cli.output import Report
from trellis_cli.settings import default_data_dir
from trellis_cli.targets import FIELDS

if TYPE_CHECKING:
    from trellis_cli.up.settings import UpSettings
    from trellis_cli.up.supervisor import Supervisor
    from trellis_cli.up.view import View

__all__ = ["register"]

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="For state and logs; default: ~/.local/share/trellis.",
        envvar="TRELLIS_DATA_DIR",
    ),
]


def up(
    cli: Cli,
    hosts: Annotated[int, typer.Option("--hosts", metavar="N", help="How many hosts to run.", min=1, max=64)] = 1,
    detach: Annotated[
        bool, typer.Option("-d", "--detach", metavar="", help="Run in the background; returns when ready.")
    ] = False,
    data_dir: DataDir = None,
    nats_port: Annotated[
        int | None,
        typer.Option(
            "--nats-port", metavar="PORT", help="Port of NATS; 0: any; default: 4222 if free.", min=0, max=65535
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of every host; may be repeated.")
    ] = None,
    allow_latest: AllowLatest = False,
    allowed_insecure: AllowedInsecure = None,
    policy_topic: PolicyTopic = None,
    wadm_manifest: Annotated[
        list[Path] | None,
        typer.Option("--wadm-manifest", metavar="FILE", help="Deploy this application as well; may be repeated."),
    ] = None,
) -> ExitCode | None:
    """Start a lattice on this machine: NATS, hosts and the reconciler.

    Stays in the foreground until Ctrl-C, then drains and ends everything it started. With --nats-url it joins
    that NATS instead of starting one.
    """
    from trellis_cli.labels import parse_labels
    from trellis_cli.up.settings import UpSettings

    directory = (data_dir or default_data_dir(os.environ)).expanduser().absolute()
    target = find_target(cli.settings, asked_only=True)
    # Only a server that is named for this command keeps us from starting one.
    external = _names_server(target)
    settings = UpSettings(
        data_dir=directory,
        lattice=target.place.lattice,
        hosts=hosts,
        labels=tuple(parse_labels(label or ()).items()),
        nats_url=target.place.nats_url if external else None,
        connection=tuple(target.environment.items()) if external else (),
        nats_port=nats_port,
        start_timeout=cli.settings.patience(60.0),
        sources=Sources(allow_latest, tuple(allowed_insecure or ()), policy_topic=policy_topic),
        manifests=tuple(path.absolute() for path in wadm_manifest or ()),
    )
    _check_manifests(settings)
    if detach:
        return _detached(cli, settings)
    return asyncio.run(_foreground(cli, settings))


def _names_server(target: Target) -> bool:
    """v1's variables are for commands: they were set for a lattice that runs elsewhere."""
    origin = target.values["nats_url"].origin
    return origin in ("--nats-url", FIELDS["nats_url"]) or origin.startswith("context ")


def _check_manifests(settings: UpSettings) -> None:
    """A manifest that cannot be deployed is said before anything starts."""
    if settings.manifests:
        from trellis_cli.manifests import read_source, sound_manifests

        for path in settings.manifests:
            sound_manifests(read_source(str(path)))


def _detached(cli: Cli, settings: UpSettings) -> ExitCode | None:
    from trellis_cli.up.detach import start_detached
    from trellis_cli.up.record import DataDirLock
    from trellis_cli.up.settings import up_arguments

    DataDirLock(settings.data_dir).release()
    environ = without_connection(os.environ) | dict(settings.connection)
    with cli.terminal.progress("Starting a lattice in the background"):
        answer = start_detached(up_arguments(settings), settings.data_dir, environ)
    answer.pop("success", None)
    cli.terminal.emit(Report(answer, names=[host["id"] for host in answer.get("hosts", ())]))
    cli.terminal.note(
        f"Lattice `{settings.lattice}` is up in the background at {answer.get('nats_url')}. "
        f"Logs: {settings.logs}. Stop it with `trellis down`."
    )
    return None


async def _foreground(cli: Cli, settings: UpSettings) -> ExitCode:
    from trellis_cli.up.supervisor import Supervisor
    from trellis_cli.up.view import open_view

    with open_view(cli.terminal, settings.lattice) as view:
        supervisor = Supervisor(settings, view)
        work = asyncio.create_task(_work(cli, supervisor, view), name="up")
        signals = _Signals(work, supervisor, view)
        with signals:
            try:
                await work
            except asyncio.CancelledError:
                if signals.received is None:
                    raise
    return ExitCode.INTERRUPTED if signals.received == signal.SIGINT else ExitCode.OK


class _Signals:
    """The first SIGINT or SIGTERM ends the work in order, the next one at once."""

    def __init__(self, work: asyncio.Task[None], supervisor: Supervisor, view: View) -> None:
        self._work, self._supervisor, self._view = work, supervisor, view
        self.received: signal.Signals | None = None

    def __enter__(self) -> _Signals:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._arrived, number)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)

    def _arrived(self, number: signal.Signals) -> None:
        if self.received is None:
            self.received = number
            self._supervisor.on_stop()
            self._work.cancel()
            self._view.ready("Stopping: hosts drain, then NATS ends. Ctrl-C again does not wait.")
        else:
            self._supervisor.hurry()


async def _work(cli: Cli, supervisor: Supervisor, view: View) -> None:
    from trellis_cli.up.beside import Beside
    from trellis_cli.up.groups import leading_error

    try:
        async with asyncio.TaskGroup() as group:
            beside = Beside(cli.terminal, supervisor, view, group)
            try:
                await supervisor.run(beside.begin)
            finally:
                beside.end()
    except BaseExceptionGroup as error:
        raise leading_error(error) from None


def down(cli: Cli, data_dir: DataDir = None) -> None:
    """Stop what `trellis up` started, and nothing else.

    Does nothing if nothing runs. Hosts drain first; --timeout (default 30s) bounds that.
    """
    from trellis_cli.up.down import bring_down

    directory = (data_dir or default_data_dir(os.environ)).expanduser().absolute()
    with cli.terminal.progress("Stopping"):
        ended = asyncio.run(bring_down(directory, cli.settings.patience(30.0)))
    cli.terminal.emit(Report({"stopped": ended.anything, "leftovers": ended.leftovers, "data_dir": str(directory)}))
    if ended.leftovers:
        cli.terminal.note(f"Ended {ended.leftovers} process(es) left behind by a `trellis up` that was killed.")
    elif ended.supervisor:
        cli.terminal.note("Stopped.")
    else:
        cli.terminal.note(f"Nothing that `trellis up` started runs on {directory}.")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    command(
        app, "up", examples=("trellis up", "trellis up --hosts 2 --label zone=a --detach"), panel="Run", asks=False
    )(up)
    command(app, "down", examples=("trellis down", "trellis down --data-dir ./lattice"), panel="Run")(down)
