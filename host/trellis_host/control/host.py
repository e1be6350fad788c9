"""Answers to `host.ping`, `get` and `stop` (lattice-protocol 1.4), and to `stays` and `part`, which are ours."""

from __future__ import annotations

from trellis_host.control.context import ControlContext
from trellis_lattice.control import CtlResponse, host
from trellis_lattice.control.parts import PART, InventoryPart, PartRequest
from trellis_lattice.control.server import ControlServer
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, shell: ControlContext) -> None:
    async def ping(request: None, subject: ControlSubject) -> CtlResponse[host.HostInfo]:
        return CtlResponse.ok(shell.info())

    async def get(request: None, subject: ControlSubject) -> CtlResponse[host.HostInventory]:
        return CtlResponse.ok(shell.inventory(calls=True))

    async def part(request: PartRequest, subject: ControlSubject) -> CtlResponse[InventoryPart]:
        return CtlResponse.ok(shell.inventory_part(request))

    async def stop(request: host.StopHost, subject: ControlSubject) -> CtlResponse[None]:
        if request.host_id and request.host_id != shell.state.host_id:
            raise RequestInvalid(f"invalid host_id [{request.host_id}]", host=shell.state.host_id)
        shell.request_stop(grace=request.timeout / 1000 if request.timeout is not None else None)
        return CtlResponse.done("successfully handled stop host")

    async def stays(request: host.Stays, subject: ControlSubject) -> CtlResponse[None]:
        shell.stays(request.workloads)
        return CtlResponse.done("successfully noted what stays")

    server.handle(host.PING, ping)
    server.handle(host.GET, get)
    server.handle(PART, part)
    server.handle(host.STOP, stop)
    server.handle(host.STAYS, stays)
