"""Components: auction, scale, update (lattice-protocol 1.5); and prepare, which is ours."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trellis_lattice.control.operation import Answerers, Argument, ControlOperation
from trellis_lattice.wire import Annotations, ConfigNames, Count, Id, Labels, Ref, StringMap, WireModel

__all__ = [
    "AUCTION",
    "PREPARE",
    "SCALE",
    "UNBOUNDED",
    "UPDATE",
    "ComponentAuction",
    "ComponentBid",
    "Prepare",
    "Scale",
    "Update",
]

UNBOUNDED = 2**32 - 1
"""The count with which v1 clients mean: as many instances as are asked for."""


class ComponentAuction(WireModel):
    """Who could run this? A host bids if its labels match and it does not run that id yet."""

    component_ref: Ref
    component_id: Id
    constraints: Labels


class ComponentBid(WireModel):
    component_ref: Ref = ""
    component_id: str = ""
    host_id: str
    constraints: Labels = Field(default_factory=dict)


class Scale(WireModel):
    """Start, resize and stop in one: `count` instances at most, 0 stops."""

    component_ref: Ref = ""
    component_id: Id
    count: Count = 0
    host_id: str = ""
    annotations: Annotations | None = None
    config: ConfigNames = ()
    allow_update: bool = False
    component_limits: StringMap | None = None


class Update(WireModel):
    """Run another image under the same id."""

    component_id: Id
    new_component_ref: Annotated[Ref, Field(min_length=1)]
    host_id: str = ""
    annotations: Annotations | None = None


class Prepare(WireModel):
    """Fetch and compile an image that this host may have to run later. Acknowledged at once; v1 hosts refuse it."""

    component_ref: Annotated[Ref, Field(min_length=1)]
    host_id: str = ""


AUCTION: ControlOperation[ComponentAuction, ComponentBid] = ControlOperation(
    "component", "auction", ComponentAuction, ComponentBid, answerers=Answerers.EVERY
)
SCALE: ControlOperation[Scale, None] = ControlOperation("component", "scale", Scale, None, Argument.HOST)
UPDATE: ControlOperation[Update, None] = ControlOperation("component", "update", Update, None, Argument.HOST)
PREPARE: ControlOperation[Prepare, None] = ControlOperation("component", "prepare", Prepare, None, Argument.HOST)
