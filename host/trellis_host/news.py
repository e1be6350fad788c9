"""The events that a change of what a host runs comes with (lattice-protocol 1.5 and 1.6), as effects. Pure."""

from __future__ import annotations

from typing import Any

from trellis_host.effects import ComponentSpec, Emit, ProviderSpec
from trellis_lattice.events.component import ComponentScaled, ComponentScaleFailed
from trellis_lattice.events.provider import ProviderStarted, ProviderStartFailed, ProviderStopped

__all__ = ["scale_failed", "scaled", "start_failed", "started", "stopped"]


def scaled(host_id: str, spec: ComponentSpec) -> Emit:
    """A component runs as `spec` says; with no instances, it has ended."""
    return Emit(
        ComponentScaled(
            component_id=spec.id,
            host_id=host_id,
            image_ref=spec.image,
            max_instances=spec.max_instances,
            annotations=dict(spec.annotations),
        )
    )


def scale_failed(host_id: str, spec: ComponentSpec, error: str, failure: dict[str, Any] | None = None) -> Emit:
    """A component cannot run as `spec` says. `failure`: wire form of the error."""
    return Emit(
        ComponentScaleFailed(
            component_id=spec.id,
            host_id=host_id,
            image_ref=spec.image,
            max_instances=spec.max_instances,
            annotations=dict(spec.annotations),
            error=error,
            failure=failure,
        )
    )


def started(host_id: str, spec: ProviderSpec) -> Emit:
    """A provider runs, for the first time or again."""
    return Emit(
        ProviderStarted(provider_id=spec.id, host_id=host_id, image_ref=spec.image, annotations=dict(spec.annotations))
    )


def start_failed(host_id: str, spec: ProviderSpec, error: str, failure: dict[str, Any] | None = None) -> Emit:
    """A provider cannot start, or died for good. `failure`: wire form of the error."""
    return Emit(
        ProviderStartFailed(provider_id=spec.id, provider_ref=spec.image, host_id=host_id, error=error, failure=failure)
    )


def stopped(host_id: str, spec: ProviderSpec) -> Emit:
    """A provider has ended because somebody asked for it."""
    return Emit(
        ProviderStopped(host_id=host_id, provider_id=spec.id, annotations=dict(spec.annotations), reason="stop")
    )
