"""Finding a provider class by the reference that a manifest gives.

http-server                                        an entry point of the group `trellis.providers`
python:my_package.providers:Greeter                a class anywhere on the Python path
ghcr.io/wasmcloud/http-server:0.27.0               a wasmCloud v1 image: our equivalent, any tag
wasmcloud+builtin://http-server                    a wasmCloud v1 built-in
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from trellis_lattice.errors import ConfigError, NotFound

from .provider import Provider

__all__ = ["V1_IMAGES", "entry_point_for", "find_provider", "known_providers"]

GROUP = "trellis.providers"

V1_IMAGES: Mapping[str, str] = {
    "ghcr.io/wasmcloud/http-server": "http-server",
    "ghcr.io/wasmcloud/keyvalue-nats": "keyvalue-nats",
    "ghcr.io/wasmcloud/keyvalue-redis": "keyvalue-redis",
    "ghcr.io/wasmcloud/messaging-nats": "messaging-nats",
    "ghcr.io/wasmcloud/http-client": "http-client",
    "ghcr.io/wasmcloud/blobstore-fs": "blobstore-fs",
    "ghcr.io/wasmcloud/blobstore-s3": "blobstore-s3",
    "ghcr.io/wasmcloud/sqldb-postgres": "sqldb-postgres",
    "wasmcloud.azurecr.io/httpserver": "http-server",
    "wasmcloud.azurecr.io/kvredis": "keyvalue-redis",
    "wasmcloud.azurecr.io/nats_messaging": "messaging-nats",
}
"""Image repository of wasmCloud v1 → our entry point (which need not be installed)."""

_BUILTIN = "wasmcloud+builtin://"
_TAG = re.compile(r"(?:@sha256:[0-9a-f]+|:[\w][\w.-]{0,127})$")


def entry_point_for(reference: str) -> str:
    """The name of the entry point that a reference means; pure."""
    if reference.startswith(_BUILTIN):
        return reference.removeprefix(_BUILTIN)
    name = reference.removeprefix("oci://")
    if "/" in name:
        name = _TAG.sub("", _TAG.sub("", name))
    return V1_IMAGES.get(name, name)


def find_provider(reference: str) -> type[Provider]:
    """The provider class of a reference. Raises `NotFound` listing what is known, `ConfigError` if it is broken."""
    if reference.startswith("python:"):
        return _from_path(reference.removeprefix("python:"), reference)
    name = entry_point_for(reference)
    found = known_providers().get(name)
    if found is None:
        meant = f" (it stands for `{name}`, which is not installed)" if name != reference else ""
        raise NotFound(
            f"There is no provider {reference}{meant}.",
            remedy=f"Known here: {', '.join(sorted(known_providers()))}; or python:module:Class.",
            reference=reference,
        )
    return _from_path(found, reference)


def known_providers() -> Mapping[str, str]:
    """Entry points of installed distributions: name → `module:Class`."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def _from_path(path: str, reference: str) -> type[Provider]:
    place, _, name = path.partition(":")
    if not place or not name:
        raise ConfigError(f"{reference!r} names no class.", remedy="Write python:package.module:Class.")
    try:
        target: Any = import_module(place)
        for part in name.split("."):
            target = getattr(target, part)
    except ModuleNotFoundError as error:
        raise NotFound(
            f"The provider {reference} cannot be imported: {error}.",
            remedy="Install its package where the host runs, or put it on PYTHONPATH.",
            reference=reference,
        ) from None
    except AttributeError:
        raise NotFound(f"The module {place} has no class {name}.", reference=reference) from None
    except Exception as error:
        raise ConfigError(f"The provider {reference} fails on import: {type(error).__name__}: {error}.") from error
    if not (isinstance(target, type) and issubclass(target, Provider)):
        raise ConfigError(
            f"{path} is not a provider class.",
            remedy="Derive it from trellis_provider_sdk.Provider.",
            reference=reference,
        )
    return target
