"""Answers to `claims.get` (lattice-protocol 1.9): any host, from shared state."""

from __future__ import annotations

from trellis_host.control.context import ControlContext
from trellis_lattice.control import CtlResponse, claims
from trellis_lattice.control.server import ControlServer
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, host: ControlContext) -> None:
    async def get(request: None, subject: ControlSubject) -> CtlResponse[list[dict[str, str]]]:
        return CtlResponse.ok([each.listed() for _, each in sorted(host.shared.claims.items())])

    server.handle(claims.GET, get)
