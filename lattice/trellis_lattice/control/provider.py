"""Providers: auction, start, stop (lattice-protocol 1.6)."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field

from trellis_lattice.control.operation import Answerers, Argument, ControlOperation
from trellis_lattice.subjects import check_id
from trellis_lattice.wire import Annotations, ConfigNames, Id, Labels, Ref, WireModel

__all__ = ["AUCTION", "START", "STOP", "ProviderAuction", "ProviderBid", "StartProvider", "StopProvider"]


class ProviderAuction(WireModel):
    """Who could run this? v1's CLI puts a link name into `provider_id`."""

    provider_ref: Ref
    provider_id: Id
    constraints: Labels = Field(default_factory=dict)


class ProviderBid(WireModel):
    host_id: str
    provider_ref: Ref = ""
    provider_id: str = ""
    constraints: Labels = Field(default_factory=dict)


class StartProvider(WireModel):
    provider_id: Id
    provider_ref: Annotated[Ref, Field(min_length=1)]
    host_id: str = ""
    config: ConfigNames = ()
    annotations: Annotations | None = None


class StopProvider(WireModel):
    host_id: str = ""
    provider_id: Annotated[
        str, AfterValidator(check_id), Field(validation_alias=AliasChoices("provider_id", "provider_ref"))
    ]


AUCTION: ControlOperation[ProviderAuction, ProviderBid] = ControlOperation(
    "provider", "auction", ProviderAuction, ProviderBid, answerers=Answerers.EVERY
)
START: ControlOperation[StartProvider, None] = ControlOperation("provider", "start", StartProvider, None, Argument.HOST)
STOP: ControlOperation[StopProvider, None] = ControlOperation("provider", "stop", StopProvider, None, Argument.HOST)
