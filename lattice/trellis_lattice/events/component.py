"""What happens to components: v1 knows scaling only, 0 instances means stopped."""

from __future__ import annotations

from typing import Any, ClassVar

from trellis_lattice.events.envelope import Event, Failure
from trellis_lattice.wire import Annotations, Count, Ref

__all__ = ["ComponentScaleFailed", "ComponentScaled"]


class ComponentScaled(Event):
    """`image_ref` and `annotations` exactly as requested; key and claims only if signed."""

    kind: ClassVar[str] = "component_scaled"

    component_id: str
    host_id: str
    image_ref: Ref
    max_instances: Count
    annotations: Annotations
    public_key: str | None = None
    claims: dict[str, Any] | None = None


class ComponentScaleFailed(Failure, Event):
    kind: ClassVar[str] = "component_scale_failed"

    component_id: str
    host_id: str
    image_ref: Ref
    max_instances: Count
    annotations: Annotations
