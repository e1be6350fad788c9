"""What `trellis doctor` found out, before anybody judges it. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Beats", "Facts", "HostFacts", "LocalFacts", "Problem", "StreamFacts"]


@dataclass(frozen=True, slots=True)
class Problem:
    """An error that was met while looking."""

    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One stream that a lattice needs; `info` as JetStream tells it, None if there is none."""

    name: str
    info: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """A host that answered. `clock`: seconds that its clock is ahead of ours, None if it does not tell."""

    id: str
    name: str
    version: str
    ours: bool
    clock: float | None = None


@dataclass(frozen=True, slots=True)
class Beats:
    """Beats that were heard of one host id, by process."""

    host: str
    boots: frozenset[int]


@dataclass(frozen=True, slots=True)
class LocalFacts:
    """This machine."""

    engine: Problem | None = None
    unwritable: tuple[str, ...] = ()
    free_bytes: int | None = None
    data_dir: str = ""
    otlp: str = ""
    otlp_reached: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything; what could not be asked is left as it is here."""

    url: str
    lattice: str
    version: str
    now: float
    """Seconds since 1970."""
    unreachable: Problem | None = None
    round_trip: float = 0.0
    """Seconds."""
    server: Mapping[str, Any] = field(default_factory=dict)
    certificate_until: float | None = None
    """Seconds since 1970."""
    pings: int | None = None
    """How often the server asked a quiet connection whether it lives, in a little more than three seconds."""
    account: Mapping[str, Any] | None = None
    no_jetstream: Problem | None = None
    streams: tuple[StreamFacts, ...] = ()
    hosts: tuple[HostFacts, ...] = ()
    beats: tuple[Beats, ...] = ()
    scheduler: str | None = None
    """The host that holds the lease."""
    scheduler_renews: bool = False
    refusals: tuple[tuple[str, str], ...] = ()
    local: LocalFacts = field(default_factory=LocalFacts)
