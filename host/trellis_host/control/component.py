"""Answers to `component.auction`, `scale` and `update` (lattice-protocol 1.5), and to `prepare`, which is ours."""

from __future__ import annotations

from trellis_host.control.context import ControlContext, told
from trellis_host.state import ComponentSpec
from trellis_lattice.control import CtlResponse, component
from trellis_lattice.control.server import ControlServer
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, host: ControlContext) -> None:
    async def auction(
        request: component.ComponentAuction, subject: ControlSubject
    ) -> CtlResponse[component.ComponentBid] | None:
        if not host.would_take(request.constraints) or host.state.runs_component(request.component_id):
            return None
        return CtlResponse.ok(
            component.ComponentBid(
                component_ref=request.component_ref,
                component_id=request.component_id,
                host_id=host.state.host_id,
                constraints=request.constraints,
            )
        )

    async def scale(request: component.Scale, subject: ControlSubject) -> CtlResponse[None]:
        spec = ComponentSpec(
            id=request.component_id,
            image=request.component_ref,
            max_instances=request.count,
            annotations=request.annotations or {},
            config=request.config,
            limits=request.component_limits,
        )
        return told(host.apply(host.state.scale(spec, allow_update=request.allow_update)))

    async def update(request: component.Update, subject: ControlSubject) -> CtlResponse[None]:
        outcome = host.state.update(request.component_id, request.new_component_ref, request.annotations)
        return told(host.apply(outcome))

    async def prepare(request: component.Prepare, subject: ControlSubject) -> CtlResponse[None]:
        host.prepare(request.component_ref)
        return CtlResponse.done("successfully took up the image")

    server.handle(component.AUCTION, auction)
    server.handle(component.PREPARE, prepare)
    server.handle(component.SCALE, scale)
    server.handle(component.UPDATE, update)
