"""What happens on a lattice, one model per kind of event, in a file per noun (lattice-protocol 2)."""

from __future__ import annotations

from collections.abc import Mapping

from trellis_lattice.events import envelope
from trellis_lattice.events.component import ComponentScaled, ComponentScaleFailed
from trellis_lattice.events.config import ConfigDeleted, ConfigSet
from trellis_lattice.events.envelope import Event, LatticeEvent, build
from trellis_lattice.events.host import HostHeartbeat, HostStarted, HostStopped, LabelsChanged
from trellis_lattice.events.link import LinkDeleted, LinkSet, LinkSetFailed
from trellis_lattice.events.provider import (
    HealthCheckFailed,
    HealthCheckPassed,
    HealthCheckStatus,
    ProviderStarted,
    ProviderStartFailed,
    ProviderStopped,
)

__all__ = [
    "EVENTS",
    "ComponentScaleFailed",
    "ComponentScaled",
    "ConfigDeleted",
    "ConfigSet",
    "Event",
    "HealthCheckFailed",
    "HealthCheckPassed",
    "HealthCheckStatus",
    "HostHeartbeat",
    "HostStarted",
    "HostStopped",
    "LabelsChanged",
    "LatticeEvent",
    "LinkDeleted",
    "LinkSet",
    "LinkSetFailed",
    "ProviderStartFailed",
    "ProviderStarted",
    "ProviderStopped",
    "build",
    "parse",
]

_ALL: tuple[type[Event], ...] = (
    HostStarted,
    HostHeartbeat,
    HostStopped,
    LabelsChanged,
    ComponentScaled,
    ComponentScaleFailed,
    ProviderStarted,
    ProviderStartFailed,
    ProviderStopped,
    HealthCheckPassed,
    HealthCheckFailed,
    HealthCheckStatus,
    LinkSet,
    LinkSetFailed,
    LinkDeleted,
    ConfigSet,
    ConfigDeleted,
)

EVENTS: Mapping[str, type[Event]] = {event.kind: event for event in _ALL}


def parse(payload: bytes) -> LatticeEvent | None:
    """The event in a message; None if it is none. Unknown kinds and malformed data leave `.event` None."""
    return envelope.parse(payload, EVENTS)
