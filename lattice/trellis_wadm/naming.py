"""Names that a manifest gives to things in the lattice (lattice-protocol 7.5).

The law of this file: these must equal v1's to the byte, since several tools look the same things up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = [
    "APP_ANNOTATION",
    "MANAGED_BY_ANNOTATION",
    "MANAGER",
    "SCALER_ANNOTATION",
    "SPREAD_ANNOTATION",
    "digest",
    "owned_name",
    "sanitize",
    "secret_name",
    "ulid",
]

MANAGED_BY_ANNOTATION = "wasmcloud.dev/managed-by"
APP_ANNOTATION = "wasmcloud.dev/appspec"
SCALER_ANNOTATION = "wasmcloud.dev/scaler"
SPREAD_ANNOTATION = "wasmcloud.dev/spread_name"
MANAGER = "wadm"


def sanitize(name: str) -> str:
    """Lower case, with `_` for everything that is not an ASCII letter or digit."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in name.lower())


def owned_name(app: str, name: str) -> str:
    """The lattice-wide name of a component or of a config with inline properties: `my-app`, `echo` → `my_app-echo`."""
    return f"{sanitize(app)}-{sanitize(name)}"


def secret_name(app: str, name: str) -> str:
    """The config key that holds a secret reference."""
    return f"SECRET_{owned_name(app, name)}"


def digest(parts: Iterable[str]) -> str:
    """Id of a scaler: the hex SHA-256 of its parts, without separators."""
    return hashlib.sha256("".join(parts).encode()).hexdigest()


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(milliseconds: int, random: int) -> str:
    """A version for a manifest that has none: 48 bits of time, then 80 random bits, in 26 characters."""
    number = (milliseconds & (1 << 48) - 1) << 80 | random & (1 << 80) - 1
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
