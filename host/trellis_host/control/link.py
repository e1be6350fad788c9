"""Answers to `link.put`, `link.del` and `link.get` (lattice-protocol 1.7): any host, from shared state."""

from __future__ import annotations

from trellis_host.control.context import ControlContext
from trellis_lattice.control import CtlResponse, link
from trellis_lattice.control.server import ControlServer
from trellis_lattice.errors import TrellisError
from trellis_lattice.events.link import LinkDeleted, LinkSet, LinkSetFailed
from trellis_lattice.links import Link, LinkId
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, host: ControlContext) -> None:
    async def put(request: Link, subject: ControlSubject) -> CtlResponse[None]:
        data = request.to_data()
        try:
            await host.shared.put_link(request, deadline=host.deadline())
        except TrellisError as error:
            await host.publish(LinkSetFailed(**data, error=error.message))
            raise
        await host.publish(LinkSet(**data))
        return CtlResponse.done("successfully set link")

    async def delete(request: LinkId, subject: ControlSubject) -> CtlResponse[None]:
        existed, removed = await host.shared.delete_link(request, deadline=host.deadline())
        if not existed:
            return CtlResponse.done("successfully deleted link (spec doesn't exist)")
        await host.publish(
            LinkDeleted(
                **request.to_data(),
                target=removed.target if removed is not None else None,
                interfaces=removed.interfaces if removed is not None else None,
            )
        )
        return CtlResponse.done("successfully deleted link")

    async def get(request: None, subject: ControlSubject) -> CtlResponse[list[Link]]:
        return CtlResponse.ok(host.shared.links.all())

    server.handle(link.PUT, put)
    server.handle(link.DEL, delete)
    server.handle(link.GET, get)
