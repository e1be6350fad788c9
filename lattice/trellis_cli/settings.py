"""The options that every command has, as given.

What they leave open is filled in by `connecting`: from the environment, a context, the running `trellis up`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trellis_cli.output import Format

__all__ = ["DEFAULT_LATTICE", "DEFAULT_NATS_URL", "Settings", "config_dir", "default_data_dir", "docker_config"]

DEFAULT_LATTICE = "default"
DEFAULT_NATS_URL = "nats://127.0.0.1:4222"
_REQUEST_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The common options as given; None where the user said nothing."""

    output: Format = Format.TABLE
    lattice: str | None = None
    nats_url: str | None = None
    timeout: float | None = None
    color: bool | None = None
    """True or False where asked for; None: colour if the stream is a terminal."""
    context: str | None = None
    creds: str | None = None
    nats_user: str | None = None
    nats_password: str | None = field(default=None, repr=False)
    nats_token: str | None = field(default=None, repr=False)
    nats_jwt: str | None = field(default=None, repr=False)
    nats_seed: str | None = field(default=None, repr=False)
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_first: bool | None = None
    js_domain: str | None = None
    environ: Mapping[str, str] | None = None
    """The environment to look into; None: that of this process."""
    request_timeout: float = _REQUEST_TIMEOUT
    """Seconds for one question, if `timeout` says nothing."""

    def patience(self, default: float | None = None) -> float:
        """Seconds that the command may take."""
        if self.timeout is not None:
            return self.timeout
        return self.request_timeout if default is None else default


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where `trellis up` keeps its state unless told otherwise: `TRELLIS_DATA_DIR`, else the user's data folder."""
    if chosen := environ.get("TRELLIS_DATA_DIR"):
        return Path(chosen).expanduser().absolute()
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "trellis"


def docker_config(environ: Mapping[str, str]) -> Path:
    """The file in which Docker, and tools like it, keep the user's logins at registries."""
    folder = environ.get("DOCKER_CONFIG")
    return (Path(folder).expanduser() if folder else Path.home() / ".docker") / "config.json"


def config_dir(environ: Mapping[str, str]) -> Path:
    """Where contexts are kept: `TRELLIS_CONFIG_DIR`, else the user's configuration folder."""
    if chosen := environ.get("TRELLIS_CONFIG_DIR"):
        return Path(chosen).expanduser().absolute()
    return user_config(environ) / "trellis"


def user_config(environ: Mapping[str, str]) -> Path:
    """The user's configuration folder."""
    base = environ.get("XDG_CONFIG_HOME")
    return Path(base) if base else Path(environ.get("HOME") or Path.home()) / ".config"
