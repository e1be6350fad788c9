"""What happens to providers."""

from __future__ import annotations

from typing import Any, ClassVar

from trellis_lattice.events.envelope import Event, Failure
from trellis_lattice.wire import Annotations, Ref, Text

__all__ = [
    "HealthCheckFailed",
    "HealthCheckPassed",
    "HealthCheckStatus",
    "ProviderStartFailed",
    "ProviderStarted",
    "ProviderStopped",
]


class ProviderStarted(Event):
    """`image_ref` and `annotations` exactly as requested; claims all or none, only if signed."""

    kind: ClassVar[str] = "provider_started"

    provider_id: str
    host_id: str
    image_ref: Ref
    annotations: Annotations
    claims: dict[str, Any] | None = None
    instance_id: str | None = None
    public_key: str | None = None
    link_name: str | None = None


class ProviderStartFailed(Failure, Event):
    kind: ClassVar[str] = "provider_start_failed"

    provider_id: str
    provider_ref: Ref
    host_id: str
    link_name: str = "default"


class ProviderStopped(Event):
    """`reason` is `stop` if it was asked for."""

    kind: ClassVar[str] = "provider_stopped"

    host_id: str
    provider_id: str
    annotations: Annotations
    reason: Text = "stop"
    instance_id: str = ""
    public_key: str = ""
    link_name: str = "default"


class _HealthCheck(Event):
    host_id: str
    provider_id: str


class HealthCheckPassed(_HealthCheck):
    """Healthy for the first time, or again."""

    kind: ClassVar[str] = "health_check_passed"


class HealthCheckFailed(_HealthCheck):
    """No longer healthy."""

    kind: ClassVar[str] = "health_check_failed"


class HealthCheckStatus(_HealthCheck):
    """As before."""

    kind: ClassVar[str] = "health_check_status"
