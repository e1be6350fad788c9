"""Providers: who would run one, start, stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trellis_lattice.client.asking import QUIET, TIMEOUT, Asking
from trellis_lattice.control import provider
from trellis_lattice.control.provider import ProviderAuction, ProviderBid, StartProvider, StopProvider
from trellis_lattice.events import LatticeEvent, ProviderStarted, ProviderStartFailed, ProviderStopped

__all__ = ["Providers"]


class Providers(Asking):
    """What is asked about providers."""

    async def auction_provider(
        self, ref: str, id: str, constraints: Mapping[str, str] | None = None, *, timeout: float = TIMEOUT
    ) -> list[ProviderBid]:
        """The hosts that would run it; empty if none."""
        request = ProviderAuction(provider_ref=ref, provider_id=id, constraints=dict(constraints or {}))
        return await self._ask_all(provider.AUCTION, request, timeout, (), lambda bid: bid.host_id, QUIET)

    async def start_provider(
        self,
        host_id: str,
        ref: str,
        id: str,
        *,
        config: Sequence[str] = (),
        annotations: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        wait: float | None = None,
    ) -> ProviderStarted | None:
        """Starts a provider; with `wait` (seconds) it returns when it runs. Raises what made it fail."""
        request = StartProvider(
            provider_id=id,
            provider_ref=ref,
            host_id=host_id,
            config=tuple(config),
            annotations=None if annotations is None else dict(annotations),
        )

        def outcome(event: LatticeEvent) -> ProviderStarted | None:
            data = event.event
            if event.source == host_id and isinstance(data, ProviderStartFailed) and data.provider_id == id:
                raise data.exception
            mine = isinstance(data, ProviderStarted) and data.provider_id == id and event.source == host_id
            return data if mine and isinstance(data, ProviderStarted) else None

        return await self._command_and_wait(provider.START, request, host_id, timeout, wait, outcome)

    async def stop_provider(
        self, host_id: str, id: str, *, timeout: float = TIMEOUT, wait: float | None = None
    ) -> ProviderStopped | None:
        """Stops a provider; with `wait` (seconds) it returns when it has stopped."""

        def outcome(event: LatticeEvent) -> ProviderStopped | None:
            data = event.event
            mine = isinstance(data, ProviderStopped) and data.provider_id == id and event.source == host_id
            return data if mine and isinstance(data, ProviderStopped) else None

        request = StopProvider(host_id=host_id, provider_id=id)
        return await self._command_and_wait(provider.STOP, request, host_id, timeout, wait, outcome)
