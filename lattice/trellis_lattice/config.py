"""Named configuration: string maps that workloads and links refer to (lattice-protocol 3.4, 3.6). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import TypeAdapter

from trellis_lattice.errors import ConfigError, RequestInvalid
from trellis_lattice.subjects import check_config_name
from trellis_lattice.wire import Values, decode, encode

__all__ = ["ConfigMap", "check_user_name", "decode_config", "encode_config", "is_secret", "merge", "overlay"]

ConfigMap = dict[str, str]

ADAPTER: TypeAdapter[ConfigMap] = TypeAdapter(Values)
SECRET_PREFIX = "SECRET"


def is_secret(name: str) -> bool:
    """Whether a name refers to a secret instead of plain configuration."""
    return name.startswith(SECRET_PREFIX)


def check_user_name(name: str) -> str:
    """A name under which a user may store plain configuration. Raises `RequestInvalid`."""
    check_config_name(name)
    if is_secret(name):
        raise RequestInvalid(
            f"The config name {name!r} is reserved for references to secrets.",
            remedy="Choose a name that does not start with SECRET.",
            name=name,
        )
    return name


def decode_config(payload: bytes, name: str) -> ConfigMap:
    """The stored or sent map. Raises `RequestInvalid`."""
    try:
        return decode(ADAPTER, payload, f"config {name}")
    except RequestInvalid as error:
        raise RequestInvalid(
            "config data should be a map of string -> string", remedy=error.message, name=name
        ) from None


def encode_config(values: Mapping[str, str]) -> bytes:
    return encode(ADAPTER, dict(values))


def merge(maps: Iterable[Mapping[str, str]]) -> ConfigMap:
    """All maps laid over each other, the last wins."""
    merged: ConfigMap = {}
    for values in maps:
        merged.update(values)
    return merged


def overlay(names: Iterable[str], stored: Mapping[str, Mapping[str, str]]) -> ConfigMap:
    """The maps called `names`, laid over each other in that order.

    Raises `ConfigError` naming every one that does not exist, and for secrets, which this host cannot read.
    """
    wanted = list(names)
    if secrets := [name for name in wanted if is_secret(name)]:
        raise ConfigError(
            f"Secrets are not supported on this host: {', '.join(secrets)}.",
            remedy="Use plain configuration, or a host with a secrets backend.",
            key=secrets[0],
        )
    if missing := [name for name in wanted if name not in stored]:
        does = "does" if len(missing) == 1 else "do"
        raise ConfigError(
            f"Config {', '.join(missing)} {does} not exist",
            remedy=f"Store it first: trellis config put {missing[0]} key=value",
            key=missing[0],
        )
    return merge(stored[name] for name in wanted)
