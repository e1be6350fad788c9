"""Who listens where: HTTP addresses that the links of an application open, and which of them clash.

A link from a capability to a component over `wasi:http/incoming-handler` opens its `address`. One address may
serve many components as long as `path` or `host` tells them apart; else the second one would get nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from trellis_wadm.manifest.findings import Path
from trellis_wadm.manifest.model import Component, ConfigEntry, LinkProperties, Manifest

__all__ = ["DEFAULT_ADDRESS", "Listener", "clash", "is_listening", "listener_of", "listeners", "port_of"]

DEFAULT_ADDRESS = "0.0.0.0:8000"
"""Where v1's http-server listens if nothing names an address."""

_ANY = ("", "0.0.0.0", "[::]", "*")


@dataclass(frozen=True, slots=True)
class Listener:
    """One route that a link opens: requests to `address`, narrowed by `path` and `host`, go to `component`."""

    app: str
    component: str
    address: str
    path: str
    host: str
    place: Path = ()


def listeners(manifest: Manifest) -> Iterator[Listener]:
    """Every route that an application opens, as far as its inline configuration says."""
    for c, component in enumerate(manifest.spec.components):
        if not component.is_provider:
            continue
        for t, trait in enumerate(component.traits or ()):
            link = getattr(trait, "properties", None)
            if isinstance(link, LinkProperties) and is_listening(link.namespace, link.package, link.interfaces):
                place: Path = ("spec", "components", c, "traits", t)
                listener = listener_of(manifest.name, link.target.name, place, *_settings(component, link))
                if listener is not None:
                    yield listener


def is_listening(namespace: str, package: str, interfaces: Collection[str]) -> bool:
    """Whether a link over these makes its source listen for HTTP requests."""
    return (namespace, package) == ("wasi", "http") and "incoming-handler" in interfaces


def _settings(component: Component, link: LinkProperties) -> tuple[Mapping[str, str], Mapping[str, str], bool]:
    link_configs = link.source.config if link.source else []
    complete = all(entry.properties is not None for entry in [*component.properties.config, *link_configs])
    return _merged(component.properties.config), _merged(link_configs), complete


def _merged(entries: Iterable[ConfigEntry]) -> dict[str, str]:
    return {key: value for entry in entries for key, value in (entry.properties or {}).items()}


def listener_of(
    app: str, component: str, place: Path, provider: Mapping[str, str], link: Mapping[str, str], complete: bool = True
) -> Listener | None:
    """The route that these settings open; None if its address stands where we cannot see it."""
    provider, link = _lowered(provider), _lowered(link)
    address = link.get("address")
    if address is None and "port" in link:
        address = f"127.0.0.1:{link['port'].strip()}"
    if address is None:
        if not complete or "config_json" in link or "config_b64" in link:
            return None
        address = provider.get("default_address", DEFAULT_ADDRESS)
    host = link.get("host", "").strip().lower()
    return Listener(app, component, address.strip().lower(), link.get("path", ""), host, place)


def _lowered(settings: Mapping[str, str]) -> dict[str, str]:
    """The HTTP server does not tell upper from lower case in keys."""
    return {key.lower(): value for key, value in settings.items()}


def port_of(address: str) -> tuple[str, str]:
    """Host and port of an address; port 0 means any free one."""
    host, _, port = address.rpartition(":")
    return ("127.0.0.1" if host == "localhost" else host), port


def clash(one: Listener, other: Listener) -> str | None:
    """Why two routes cannot both be served, or None."""
    (host, port), (other_host, other_port) = port_of(one.address), port_of(other.address)
    if port != other_port or port == "0":
        return None
    if host == other_host:
        if (one.path, one.host) != (other.path, other.host):
            return None
        return f"both want every request to {one.address}{one.path and ' under ' + one.path}"
    if host in _ANY or other_host in _ANY:
        return f"{one.address} and {other.address} overlap"
    return None
