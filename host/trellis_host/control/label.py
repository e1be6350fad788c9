"""Answers to `label.put` and `label.del` (lattice-protocol 1.4)."""

from __future__ import annotations

from trellis_host.control.context import ControlContext, told
from trellis_lattice.control import CtlResponse, label
from trellis_lattice.control.server import ControlServer
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, host: ControlContext) -> None:
    async def put(request: label.Label, subject: ControlSubject) -> CtlResponse[None]:
        return told(host.apply(host.state.put_label(request.key, request.value)))

    async def delete(request: label.LabelKey, subject: ControlSubject) -> CtlResponse[None]:
        return told(host.apply(host.state.delete_label(request.key)))

    server.handle(label.PUT, put)
    server.handle(label.DEL, delete)
