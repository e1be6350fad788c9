"""What a host is asked for, and what it then has to do: the inputs and outputs of `HostState`, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from trellis_lattice.events.component import ComponentScaled, ComponentScaleFailed
from trellis_lattice.events.host import LabelsChanged
from trellis_lattice.events.provider import ProviderStarted, ProviderStartFailed, ProviderStopped

__all__ = [
    "AbandonLaunch",
    "Answer",
    "ComponentSpec",
    "Effect",
    "Emit",
    "HaltComponent",
    "HaltProvider",
    "LaunchComponent",
    "LaunchProvider",
    "Outcome",
    "ProviderSpec",
    "ReshapeComponent",
]


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A component as asked for. `max_instances` bounds its concurrent invocations on this host."""

    id: str
    image: str
    max_instances: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    config: tuple[str, ...] = ()
    limits: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A provider as asked for."""

    id: str
    image: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    config: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchComponent:
    """Fetch, compile and start; if the id already runs, the new one takes over when it is ready."""

    spec: ComponentSpec


@dataclass(frozen=True, slots=True)
class ReshapeComponent:
    """New bounds, config or limits for a running component; its code stays loaded."""

    spec: ComponentSpec


@dataclass(frozen=True, slots=True)
class HaltComponent:
    id: str


@dataclass(frozen=True, slots=True)
class LaunchProvider:
    spec: ProviderSpec


@dataclass(frozen=True, slots=True)
class HaltProvider:
    id: str


@dataclass(frozen=True, slots=True)
class AbandonLaunch:
    """Nobody wants any more what is being launched: end that, at once. It then fails."""

    id: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Publish an event."""

    event: (
        ComponentScaled | ComponentScaleFailed | ProviderStarted | ProviderStartFailed | ProviderStopped | LabelsChanged
    )


Effect: TypeAlias = (
    LaunchComponent | ReshapeComponent | HaltComponent | LaunchProvider | HaltProvider | AbandonLaunch | Emit
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the asker is told at once."""

    success: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    answer: Answer
    effects: tuple[Effect, ...] = ()
