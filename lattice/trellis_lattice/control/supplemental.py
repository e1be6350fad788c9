"""What a host may ask a config service when it starts (lattice-protocol 1.9). Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trellis_lattice.control.registry import Credentials
from trellis_lattice.subjects import check_lattice
from trellis_lattice.wire import Labels, WireModel

__all__ = ["SupplementalConfig", "SupplementalRequest", "supplemental_subject"]


class SupplementalRequest(WireModel):
    """The host's labels: the service may answer by them."""

    labels: Labels


class SupplementalConfig(WireModel):
    """What the host adds to its own settings."""

    registry_credentials: Annotated[Credentials | None, Field(alias="registryCredentials")] = None


def supplemental_subject(lattice: str) -> str:
    """Where the service listens."""
    return f"wasmbus.cfg.{check_lattice(lattice)}.req"
