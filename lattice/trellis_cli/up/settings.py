"""What `trellis up` was asked for, and what follows from it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trellis_cli.connecting import without_connection
from trellis_cli.hosting.sources import Sources

__all__ = ["HostCommand", "UpSettings", "child_environment", "host_command", "host_names", "up_arguments"]


@dataclass(frozen=True, slots=True)
class UpSettings:
    """`nats_url` None: an embedded NATS server. `nats_port` None: 4222 if it is free, else any; 0: any."""

    data_dir: Path
    lattice: str
    hosts: int = 1
    labels: tuple[tuple[str, str], ...] = ()
    sources: Sources = field(default_factory=Sources)
    """What every host may run, and where that comes from."""
    nats_url: str | None = None
    connection: tuple[tuple[str, str], ...] = ()
    """How to connect to that NATS, as variables of the environment of everything that does."""
    nats_port: int | None = None
    start_timeout: float = 60.0
    """Seconds from the start until every host is ready."""
    stop_grace: float = 40.0
    """Seconds that a host gets for draining before it is killed."""
    manifests: tuple[Path, ...] = ()
    """Applications to deploy once all hosts are ready."""

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"


HostCommand = Callable[[UpSettings, str, str, Path], list[str]]
"""(settings, name of the host, NATS url, socket of the listener broker) → command line of a host."""


def host_names(count: int) -> list[str]:
    """`host-1` … `host-N`: what the hosts are called in logs and on screen."""
    return [f"host-{number}" for number in range(1, count + 1)]


def host_command(settings: UpSettings, name: str, nats_url: str, listeners: Path) -> list[str]:
    """The command line of one host child; `Child.spawn` adds its channel."""
    command = [sys.executable, "-m", "trellis_cli", "host", "run"]
    if settings.nats_url is None:
        command += ["--nats-url", nats_url]
    command += ["--lattice", settings.lattice]
    command += ["--data-dir", str(settings.data_dir / name), "--cache-dir", str(settings.data_dir / "cache")]
    command += ["--listeners-socket", str(listeners)]
    for key, value in settings.labels:
        command += ["--label", f"{key}={value}"]
    return command + settings.sources.arguments()


def child_environment(environ: Mapping[str, str], settings: UpSettings) -> dict[str, str]:
    """What a host inherits: everything but the options of this very command, and how to connect."""
    own = ("TRELLIS_OUTPUT", "TRELLIS_TIMEOUT", "TRELLIS_DATA_DIR")
    rest = without_connection(environ)
    return {key: value for key, value in rest.items() if key not in own} | dict(settings.connection)


def up_arguments(settings: UpSettings) -> list[str]:
    """The arguments of `trellis up` that mean these settings; `settings.connection` goes with the environment."""
    arguments = ["--hosts", str(settings.hosts), "--data-dir", str(settings.data_dir), "--lattice", settings.lattice]
    arguments += ["--timeout", f"{settings.start_timeout}s"]
    if settings.nats_port is not None:
        arguments += ["--nats-port", str(settings.nats_port)]
    for key, value in settings.labels:
        arguments += ["--label", f"{key}={value}"]
    for path in settings.manifests:
        arguments += ["--wadm-manifest", str(path)]
    return arguments + settings.sources.arguments()
