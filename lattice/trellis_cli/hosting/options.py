"""What one host was asked to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trellis_cli.connecting import Target
from trellis_cli.hosting.sources import Sources

__all__ = ["DRAIN_GRACE", "HostOptions"]

DRAIN_GRACE = 30.0
"""Seconds a host may drain: give its work to others, then finish what it has. Shorter than what a supervisor grants."""


@dataclass(frozen=True, slots=True)
class HostOptions:
    """`seed` None: the identity kept in `data_dir`. The last two are given by a supervisor."""

    target: Target
    """The lattice, and how to connect to it."""
    data_dir: Path
    cache_dir: Path
    labels: dict[str, str]
    seed: str | None = None
    sources: Sources = field(default_factory=Sources)
    """What it may run, and where that comes from."""
    listeners_socket: Path | None = None
    supervisor_fd: int | None = None
    drain_grace: float = DRAIN_GRACE
    scheduler: bool = True
    """Whether it takes part in scheduling; not where wadm of v1 does that."""
