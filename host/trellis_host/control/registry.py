"""Answers to `registry.put` (lattice-protocol 1.9): every host keeps the credentials, in memory only."""

from __future__ import annotations

from trellis_host.control.context import ControlContext
from trellis_lattice.control import CtlResponse, registry
from trellis_lattice.control.server import ControlServer
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, host: ControlContext) -> None:
    async def put(request: dict[str, registry.RegistryCredential], subject: ControlSubject) -> CtlResponse[None]:
        host.registries.put(request)
        return CtlResponse.done("successfully put registries")

    server.handle(registry.PUT, put)
