"""The options that every command has, and where the lattice is.

The law of this file: an option beats the environment, the environment beats what a running `trellis up`
recorded, and that beats the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trellis_cli.output import Format

__all__ = ["DEFAULT_LATTICE", "DEFAULT_NATS_URL", "Settings", "default_data_dir"]

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

    def patience(self, default: float = _REQUEST_TIMEOUT) -> float:
        """Seconds that the command may take."""
        return default if self.timeout is None else self.timeout


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where `trellis up` keeps its state unless told otherwise: `TRELLIS_DATA_DIR`, else the user's data folder."""
    if chosen := environ.get("TRELLIS_DATA_DIR"):
        return Path(chosen).expanduser().absolute()
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "trellis"
