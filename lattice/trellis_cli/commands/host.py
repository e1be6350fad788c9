"""`trellis host run`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from trellis_cli.command import Cli, command
from trellis_cli.connecting import find_target
from trellis_cli.exits import ExitCode
from trellis_cli.hosting.sources import (
    AllowedInsecure,
    AllowLatest,
    ConfigService,
    PolicyChanges,
    PolicyTimeout,
    PolicyTopic,
    RegistryConfig,
    Sources,
)
from trellis_cli.output import parse_duration
from trellis_cli.settings import default_data_dir

__all__ = ["register"]


def run(
    cli: Cli,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="For its identity; default: ~/.local/share/trellis/host."),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option("--cache-dir", metavar="DIR", help="For compiled components; default: DATA-DIR/cache."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of this host; may be repeated.")
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            "--seed",
            metavar="SEED",
            help="nkey seed (SN…) of its identity; default: kept in DIR.",
            envvar="TRELLIS_HOST_SEED",
        ),
    ] = None,
    allow_latest: AllowLatest = False,
    allowed_insecure: AllowedInsecure = None,
    registry_config: RegistryConfig = None,
    policy_topic: PolicyTopic = None,
    policy_changes_topic: PolicyChanges = None,
    policy_timeout_ms: PolicyTimeout = 1000,
    config_service: ConfigService = False,
    drain_timeout: Annotated[
        str | None,
        typer.Option(
            "--drain-timeout",
            metavar="DURATION",
            help="How long it may take to leave: others get its work, what is under way ends; default: 30s.",
            envvar="TRELLIS_DRAIN_TIMEOUT",
        ),
    ] = None,
    no_scheduler: Annotated[
        bool,
        typer.Option(
            "--no-scheduler",
            help="Take no part in scheduling: for a lattice whose applications v1's wadm places.",
            envvar="TRELLIS_NO_SCHEDULER",
        ),
    ] = False,
    listeners_socket: Annotated[Path | None, typer.Option("--listeners-socket", hidden=True)] = None,
    supervisor_fd: Annotated[int | None, typer.Option("--supervisor-fd", hidden=True)] = None,
) -> ExitCode:
    """Run one host in the foreground and join the lattice at --nats-url.

    While NATS cannot be reached it waits and tries again. Ctrl-C or SIGTERM drains it: it takes no new work, serves on
    until other hosts have taken over what they can, finishes what it has, and leaves.
    """
    from trellis_cli.hosting.options import DRAIN_GRACE, HostOptions
    from trellis_cli.hosting.process import run_host
    from trellis_cli.labels import parse_labels

    target = find_target(cli.settings)
    directory = (data_dir or default_data_dir(os.environ) / "host").expanduser().absolute()
    options = HostOptions(
        target=target,
        data_dir=directory,
        cache_dir=(cache_dir or directory / "cache").expanduser().absolute(),
        labels=parse_labels(label or ()),
        seed=seed,
        sources=Sources(
            allow_latest=allow_latest,
            allowed_insecure=tuple(allowed_insecure or ()),
            registry_config=registry_config,
            policy_topic=policy_topic,
            policy_changes_topic=policy_changes_topic,
            policy_timeout_ms=policy_timeout_ms,
            config_service=config_service,
        ),
        listeners_socket=listeners_socket,
        supervisor_fd=supervisor_fd,
        drain_grace=parse_duration(drain_timeout) if drain_timeout is not None else DRAIN_GRACE,
        scheduler=not no_scheduler,
    )
    return run_host(options)


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    examples = ("trellis host run --nats-url nats://10.0.0.5:4222", "trellis host run --label zone=a --data-dir ./host")
    command(group, "run", examples=examples, asks=False)(run)
