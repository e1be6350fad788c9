"""How one host is set up. Plain data; nothing here reads the environment."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trellis_lattice.bus.connection import ConnectionSettings
from trellis_lattice.control.registry import RegistryCredential
from trellis_lattice.ids import HostKey
from trellis_lattice.subjects import CONTROL_PREFIX, DEFAULT_LATTICE

__all__ = ["HostSettings", "ImageSettings", "PolicySettings", "default_labels"]


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Which images may be fetched, and with what credentials."""

    allow_latest: bool = False
    """Whether images tagged `latest`, or not tagged at all, may be fetched."""
    allowed_insecure: frozenset[str] = frozenset()
    """Registries (`host[:port]`) that are asked without TLS. Those on this machine always are."""
    credentials: Mapping[str, RegistryCredential] = field(default_factory=dict, repr=False)
    """By registry; more may come over the lattice."""
    docker_config: Path | None = None
    """The file in which Docker keeps its logins, for registries that nothing else is known about."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Who decides what may run (lattice-protocol 1.10)."""

    subject: str
    changes_subject: str | None = None
    """Where decisions are changed later."""
    timeout: float = 1.0
    """Seconds for one decision."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """`key` is the host's identity; `cache_dir` keeps compiled code, written by hosts of this user alone."""

    key: HostKey
    friendly_name: str
    cache_dir: Path
    nats: ConnectionSettings = field(default_factory=ConnectionSettings)
    lattice: str = DEFAULT_LATTICE
    labels: Mapping[str, str] = field(default_factory=dict)
    control_prefix: str = CONTROL_PREFIX
    heartbeat_interval: float = 30.0
    """Seconds between v1 heartbeats."""
    connect_timeout: float = 10.0
    stop_grace: float = 30.0
    """Seconds that a host which stops gets to give its work to others and to finish what is under way."""
    max_in_flight: int = 2048
    """Sandboxes alive at one time."""
    images: ImageSettings = field(default_factory=ImageSettings)
    policy: PolicySettings | None = None
    """None: everything is permitted."""
    config_service: bool = False
    """Whether to ask the lattice's config service for credentials when the host starts (lattice-protocol 1.9)."""


def default_labels() -> dict[str, str]:
    """`hostcore.*` as v1 spells them (lattice-protocol 9.1), and who made this host (9.6)."""
    return {
        "hostcore.arch": {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine()),
        "hostcore.os": {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform),
        "hostcore.osfamily": "windows" if sys.platform == "win32" else "unix",
        "host.impl": "trellis",
    }
