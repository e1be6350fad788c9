"""Who a host is: its key and its friendly name, the same after every restart."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from trellis_lattice.errors import ConfigError, TrellisError
from trellis_lattice.ids import HostKey, friendly_name

__all__ = ["Identity", "load_identity"]

_FILE = "identity.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """A host's key and name."""

    key: HostKey
    friendly_name: str


def load_identity(data_dir: Path, seed: str | None = None) -> Identity:
    """What the directory keeps; made there at the first start, readable by this user alone.

    `seed` replaces the stored key, and is not stored. Raises `RequestInvalid` for a bad seed, `ConfigError` if the
    directory or the file in it cannot be used.
    """
    path = data_dir / _FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        stored = _read(path) or _make(path)
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} cannot be used: {os.strerror(error.errno or 0)}.",
            remedy="Name a writable directory with --data-dir.",
        ) from error
    return stored if seed is None else Identity(HostKey.from_seed(seed), stored.friendly_name)


def _read(path: Path) -> Identity | None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        data = json.loads(text)
        return Identity(HostKey.from_seed(data["seed"]), str(data["friendly_name"]))
    except (ValueError, KeyError, TypeError, TrellisError) as error:
        raise ConfigError(
            f"{path} does not hold the identity of a host.", remedy="Remove it; the host then gets a new identity."
        ) from error


def _make(path: Path) -> Identity:
    identity = Identity(HostKey.from_bytes(secrets.token_bytes(32)), friendly_name(secrets.randbits(64)))
    data = {"seed": identity.key.seed, "friendly_name": identity.friendly_name}
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        file.write(json.dumps(data) + "\n")
    fresh.replace(path)
    return identity
