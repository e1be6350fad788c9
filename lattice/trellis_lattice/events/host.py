"""What happens to hosts."""

from __future__ import annotations

from typing import ClassVar

from trellis_lattice.control.host import HostInventory
from trellis_lattice.events.envelope import Event
from trellis_lattice.wire import Labels, Text

__all__ = ["HostHeartbeat", "HostStarted", "HostStopped", "LabelsChanged"]


class HostStarted(Event):
    """Published once control subscriptions exist and the shared state has been read."""

    kind: ClassVar[str] = "host_started"

    friendly_name: Text
    labels: Labels
    uptime_seconds: int = 0
    version: str = ""


class HostHeartbeat(HostInventory, Event):
    """The whole inventory; `version` must be a semantic version, or v1's application manager drops it."""

    kind: ClassVar[str] = "host_heartbeat"


class HostStopped(Event):
    """Published before the connection is closed."""

    kind: ClassVar[str] = "host_stopped"

    labels: Labels


class LabelsChanged(Event):
    """All labels after a change."""

    kind: ClassVar[str] = "labels_changed"

    host_id: str
    labels: Labels
