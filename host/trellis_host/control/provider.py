"""Answers to `provider.auction`, `provider.start` and `provider.stop` (lattice-protocol 1.6)."""

from __future__ import annotations

from trellis_host.control.context import ControlContext, told
from trellis_host.state import ProviderSpec
from trellis_lattice.control import CtlResponse, provider
from trellis_lattice.control.server import ControlServer
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, host: ControlContext) -> None:
    async def auction(
        request: provider.ProviderAuction, subject: ControlSubject
    ) -> CtlResponse[provider.ProviderBid] | None:
        if not host.would_take(request.constraints) or host.state.runs_provider(request.provider_id):
            return None
        return CtlResponse.ok(
            provider.ProviderBid(
                host_id=host.state.host_id,
                provider_ref=request.provider_ref,
                provider_id=request.provider_id,
                constraints=request.constraints,
            )
        )

    async def start(request: provider.StartProvider, subject: ControlSubject) -> CtlResponse[None]:
        spec = ProviderSpec(request.provider_id, request.provider_ref, request.annotations or {}, request.config)
        return told(host.apply(host.state.start_provider(spec)))

    async def stop(request: provider.StopProvider, subject: ControlSubject) -> CtlResponse[None]:
        outcome = host.state.stop_provider(request.provider_id)
        answer = told(host.apply(outcome))
        await host.settled(request.provider_id)  # this one is synchronous: the answer means that it has stopped
        return answer

    server.handle(provider.AUCTION, auction)
    server.handle(provider.START, start)
    server.handle(provider.STOP, stop)
