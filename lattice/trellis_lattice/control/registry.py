"""Credentials of image registries: put (lattice-protocol 1.9). Kept in each host's memory."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from trellis_lattice.control.operation import Answerers, ControlOperation
from trellis_lattice.wire import WireModel

__all__ = ["PUT", "Credentials", "RegistryCredential"]


class RegistryCredential(WireModel):
    """User and password, or a token. `registryType` is the one key of the control API in camel case."""

    registry_type: Annotated[str, Field(alias="registryType", max_length=64)] = "oci"
    username: Annotated[str, Field(max_length=1024)] | None = None
    password: Annotated[str | None, Field(max_length=64 * 1024, repr=False)] = None
    token: Annotated[str | None, Field(max_length=64 * 1024, repr=False)] = None


Credentials: TypeAlias = Annotated[
    dict[Annotated[str, Field(max_length=1024)], RegistryCredential], Field(max_length=1024)
]
"""By registry."""

PUT: ControlOperation[dict[str, RegistryCredential], None] = ControlOperation(
    "registry", "put", Credentials, None, answerers=Answerers.EVERY
)
