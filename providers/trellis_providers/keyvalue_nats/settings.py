"""What the provider's and each link's configuration say about buckets. Pure.

    bucket                      the bucket of the identifiers "" and "default" (and of its own name)
    buckets                     other buckets the component may open, by comma
    enable_bucket_auto_create   make a missing bucket (default true)
    cluster_uris                another NATS than the lattice's, by comma (`cluster_uri` in wasmCloud v1)
    js_domain                   the JetStream domain there

A link's `target_config` wins over the provider's config, key by key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from trellis_lattice.errors import ConfigError

__all__ = ["StoreSettings", "store_settings"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RESERVED = ("LATTICEDATA_", "CONFIGDATA_", "TRELLIS_", "wadm_")
_UNSUPPORTED = ("client_jwt", "client_seed", "tls_ca", "tls_ca_file")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`urls` empty: the lattice's own NATS."""

    bucket: str
    others: frozenset[str] = frozenset()
    create: bool = True
    urls: tuple[str, ...] = ()
    domain: str | None = None

    def name_of(self, identifier: str) -> str | None:
        """The bucket that a component means; None if the link does not give it."""
        if identifier in ("", "default", self.bucket):
            return self.bucket
        return identifier if identifier in self.others else None


def store_settings(config: Mapping[str, str], lattice: str) -> StoreSettings:
    """Raises `ConfigError` naming key and value."""
    config = {key.lower(): value.strip() for key, value in config.items()}
    for key in _UNSUPPORTED:
        if config.get(key):
            raise ConfigError(
                f"{key} is set, which keyvalue-nats does not know.",
                remedy="Leave out cluster_uris and js_domain to use the lattice's own NATS with its credentials.",
                key=key,
            )
    create = config.get("enable_bucket_auto_create", "true").lower()
    if create not in ("true", "false"):
        raise ConfigError(
            f"enable_bucket_auto_create is {create!r}.", remedy="Write true or false.", key="enable_bucket_auto_create"
        )
    return StoreSettings(
        _checked("bucket", config.get("bucket") or f"kv-{lattice}"),
        frozenset(_checked("buckets", name) for name in _listed(config.get("buckets", ""))),
        create == "true",
        tuple(_listed(config.get("cluster_uris") or config.get("cluster_uri") or "")),
        config.get("js_domain") or None,
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _checked(key: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not the name of a bucket.",
            remedy="Use letters, digits, `-` and `_`, at most 128.",
            key=key,
            value=name,
        )
    if name.startswith(_RESERVED):
        raise ConfigError(
            f"The bucket {name} holds the state of a lattice, which components may not touch.",
            remedy="Choose another name.",
            key=key,
            value=name,
        )
    return name
