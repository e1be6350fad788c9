"""Which credentials a host has for which registry (lattice-protocol 1.9).

The laws of this file: what came over the lattice (`registry.put`) wins over what the host was started with, and that
over the file in which Docker keeps its logins; everything is in memory only; no secret is ever part of an error or
of the log.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trellis_lattice.control.registry import RegistryCredential
from trellis_lattice.errors import Overloaded

__all__ = ["Credential", "Registries", "docker_credential"]

_log = logging.getLogger("trellis.images")

_MAX_REGISTRIES = 1024
_MAX_CONFIG_BYTES = 1024 * 1024
_DOCKER = "docker.io"
_DOCKER_KEYS = ("index.docker.io/v1", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credential:
    """User and password; or a token that the registry takes as it is; or one that it exchanges for such a token."""

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class Registries:
    """The credentials of one host."""

    def __init__(
        self, given: Mapping[str, RegistryCredential] | None = None, docker_config: Path | None = None
    ) -> None:
        self._known: dict[str, Credential] = {}
        self._docker_config = docker_config
        self.put(given or {})

    def put(self, credentials: Mapping[str, RegistryCredential]) -> None:
        """Adds or replaces. Raises `Overloaded` beyond a thousand registries."""
        oci = {_name(key): value for key, value in credentials.items() if value.registry_type.lower() == "oci"}
        if len(self._known.keys() | oci.keys()) > _MAX_REGISTRIES:
            raise Overloaded(f"This host keeps credentials for {_MAX_REGISTRIES} registries at most.")
        for key in credentials.keys() - {key for key in credentials if _name(key) in oci}:
            _log.warning("The credentials for %.200s are for a kind of registry that nobody here asks", key)
        for registry, each in oci.items():
            self._known[registry] = Credential(each.username or "", each.password or "", each.token or "")

    async def find(self, registry: str) -> Credential | None:
        """The credential for `host[:port]`, if there is one."""
        known = self._known.get(registry.lower())
        if known is not None or self._docker_config is None:
            return known
        content = await asyncio.to_thread(_read, self._docker_config)
        return docker_credential(content, registry) if content is not None else None


def docker_credential(content: bytes, registry: str) -> Credential | None:
    """What Docker's `config.json` holds for a registry. Never raises: a file that cannot be read holds nothing.

    Credential helpers are programs of a desktop and are not called.
    """
    try:
        auths = json.loads(content)["auths"]
        entries = {_name(str(key)): value for key, value in auths.items() if isinstance(value, Mapping)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    keys = (registry, *_DOCKER_KEYS) if registry == _DOCKER else (registry,)
    entry: Mapping[str, Any] = next((entries[key] for key in keys if key in entries), {})
    username, password = str(entry.get("username", "")), str(entry.get("password", ""))
    try:
        decoded = base64.b64decode(str(entry.get("auth", "")), validate=True).decode()
    except (binascii.Error, ValueError):
        decoded = ""
    if ":" in decoded:
        username, _, password = decoded.partition(":")
    identity, token = str(entry.get("identitytoken", "")), str(entry.get("registrytoken", ""))
    if not (username or identity or token):
        return None
    return Credential(username, password.rstrip("\0"), token, identity)


def _name(key: str) -> str:
    """`https://Registry:5000/` as `registry:5000`."""
    return key.strip().lower().removeprefix("https://").removeprefix("http://").rstrip("/")


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_CONFIG_BYTES)
    except OSError:
        return None
