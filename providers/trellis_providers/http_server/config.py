"""What the provider's and each link's configuration say (lattice-protocol 5.7). Pure.

Keys are case-insensitive. A link may also carry all its keys as one JSON object in `config_json`, or that in
base64 in `config_b64`.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass

from trellis_lattice.errors import ConfigError
from trellis_provider_sdk.listeners import split_address

from .cors import Cors, cors_settings

__all__ = ["LinkSettings", "RoutingMode", "ServerSettings", "link_settings", "server_settings"]

DEFAULT_ADDRESS = "0.0.0.0:8000"
DEFAULT_TIMEOUT = 30.0
DEFAULT_MAX_BODY = 100 * 1024 * 1024
_UNSUPPORTED = ("tls_cert_file", "tls_priv_key_file")


class RoutingMode(enum.Enum):
    """What tells the components behind one address apart."""

    ADDRESS = "address"
    PATH = "path"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Provider level. `header`: in host mode, the request header to route on."""

    default_address: tuple[str, int]
    routing_mode: RoutingMode
    header: str = "host"


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Link level. `host`, `path`: what a request must have; None: anything. `timeout` in seconds."""

    address: tuple[str, int]
    host: str | None
    path: str | None
    timeout: float = DEFAULT_TIMEOUT
    max_body: int = DEFAULT_MAX_BODY
    readonly: bool = False
    cache_control: str | None = None
    keep_alive: bool = True
    cors: Cors | None = None


def server_settings(config: Mapping[str, str]) -> ServerSettings:
    """Raises `ConfigError` naming key and value."""
    config = _lowered(config)
    mode = config.get("routing_mode", "address").lower()
    if mode not in [each.value for each in RoutingMode]:
        raise ConfigError(
            f"routing_mode {mode!r} is unknown.", remedy="It is address, path or host.", key="routing_mode", value=mode
        )
    return ServerSettings(
        split_address(config.get("default_address", DEFAULT_ADDRESS)),
        RoutingMode(mode),
        config.get("header", "host").lower(),
    )


def link_settings(config: Mapping[str, str], server: ServerSettings) -> LinkSettings:
    """Raises `ConfigError` naming key and value."""
    config = _unpacked(_lowered(config))
    for key in _UNSUPPORTED:
        if key in config:
            raise ConfigError(
                f"{key} is set, but this http-server speaks plain HTTP.",
                remedy="Let a proxy or load balancer in front end TLS, and remove the key.",
                key=key,
            )
    host, path = config.get("host"), config.get("path")
    if server.routing_mode is RoutingMode.PATH and path is None:
        raise _missing("path", server.routing_mode)
    if server.routing_mode is RoutingMode.HOST and host is None:
        raise _missing("host", server.routing_mode)
    if path is not None and not path.startswith("/"):
        raise ConfigError(f"The path {path!r} does not start with /.", key="path", value=path)
    return LinkSettings(
        _address(config, server),
        host.strip().lower() if host is not None else None,
        path,
        _number(config, "timeout_ms", int(DEFAULT_TIMEOUT * 1000), least=1) / 1000,
        _number(config, "max_body_bytes", DEFAULT_MAX_BODY, least=0),
        _flag(config, "readonly_mode"),
        config.get("cache_control"),
        not _flag(config, "disable_keepalive"),
        cors_settings(config),
    )


def _lowered(config: Mapping[str, str]) -> Mapping[str, str]:
    return {key.lower(): value for key, value in config.items()}


def _unpacked(config: Mapping[str, str]) -> Mapping[str, str]:
    """The keys of `config_json` or `config_b64` in place; keys given directly win."""
    text = config.get("config_json")
    if text is None and "config_b64" in config:
        try:
            text = base64.b64decode(config["config_b64"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ConfigError("config_b64 is not base64 of UTF-8 text.", key="config_b64") from None
    if text is None:
        return config
    try:
        packed = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"config_json is not JSON: {error}.", key="config_json") from None
    if not isinstance(packed, dict):
        raise ConfigError("config_json is not a JSON object.", key="config_json")
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in packed.items()}
    return {**_lowered(texts), **config}


def _address(config: Mapping[str, str], server: ServerSettings) -> tuple[str, int]:
    """`address` wins over `port`, which means 127.0.0.1."""
    if "address" in config:
        return split_address(config["address"])
    if "port" in config:
        return split_address(f"127.0.0.1:{config['port'].strip()}")
    return server.default_address


def _number(config: Mapping[str, str], key: str, default: int, *, least: int) -> int:
    text = config.get(key)
    if text is None:
        return default
    if not text.strip().isascii() or not text.strip().isdecimal() or int(text) < least:
        raise ConfigError(f"{key} is {text!r}.", remedy=f"Write a whole number from {least} up.", key=key, value=text)
    return int(text)


def _flag(config: Mapping[str, str], key: str) -> bool:
    text = config.get(key, "false").strip().lower()
    if text not in ("true", "false"):
        raise ConfigError(f"{key} is {text!r}.", remedy="Write true or false.", key=key, value=text)
    return text == "true"


def _missing(key: str, mode: RoutingMode) -> ConfigError:
    return ConfigError(
        f"The link has no {key}, which routing_mode {mode.value} needs.",
        remedy=f"Add {key} to the link's source_config.",
        key=key,
    )
