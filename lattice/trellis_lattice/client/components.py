"""Components: who would run one, start, resize, stop, update, prepare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trellis_lattice.client.asking import QUIET, TIMEOUT, Asking
from trellis_lattice.control import component
from trellis_lattice.control.component import ComponentAuction, ComponentBid, Prepare, Scale, Update
from trellis_lattice.events import ComponentScaled, ComponentScaleFailed, LatticeEvent

__all__ = ["Components"]


class Components(Asking):
    """What is asked about components."""

    async def auction_component(
        self, ref: str, id: str, constraints: Mapping[str, str] | None = None, *, timeout: float = TIMEOUT
    ) -> list[ComponentBid]:
        """The hosts that would run it; empty if none."""
        request = ComponentAuction(component_ref=ref, component_id=id, constraints=dict(constraints or {}))
        return await self._ask_all(component.AUCTION, request, timeout, (), lambda bid: bid.host_id, QUIET)

    async def scale_component(
        self,
        host_id: str,
        ref: str,
        id: str,
        count: int,
        *,
        annotations: Mapping[str, str] | None = None,
        config: Sequence[str] = (),
        limits: Mapping[str, str] | None = None,
        allow_update: bool = False,
        timeout: float = TIMEOUT,
        wait: float | None = None,
    ) -> ComponentScaled | None:
        """Starts, resizes or stops (`count` 0) a component. With `wait` (seconds) it returns what came of it.

        Raises what made the host fail, `DeadlineExceeded` if nothing came of it in time.
        """
        request = Scale(
            component_ref=ref,
            component_id=id,
            count=count,
            host_id=host_id,
            annotations=None if annotations is None else dict(annotations),
            config=tuple(config),
            allow_update=allow_update,
            component_limits=None if limits is None else dict(limits),
        )

        def outcome(event: LatticeEvent) -> ComponentScaled | None:
            data = event.event
            if event.source == host_id and isinstance(data, ComponentScaleFailed) and data.component_id == id:
                raise data.exception
            mine = isinstance(data, ComponentScaled) and data.component_id == id and data.max_instances == count
            return data if mine and event.source == host_id and isinstance(data, ComponentScaled) else None

        return await self._command_and_wait(component.SCALE, request, host_id, timeout, wait, outcome)

    async def update_component(
        self, host_id: str, id: str, new_ref: str, *, timeout: float = TIMEOUT, wait: float | None = None
    ) -> str:
        """Runs another image under the same id; the message of the acknowledgement.

        With `wait` (seconds) it returns when the new image runs. Raises what made it fail (a v1 host says
        nothing then: `DeadlineExceeded`); the old image goes on.
        """
        request = Update(component_id=id, new_component_ref=new_ref, host_id=host_id)
        if wait is None:
            return await self._command(component.UPDATE, request, host_id, timeout)

        def outcome(event: LatticeEvent) -> ComponentScaled | None:
            data = event.event
            if event.source != host_id or not isinstance(data, ComponentScaled | ComponentScaleFailed):
                return None
            if data.component_id != id or data.image_ref != new_ref:
                return None
            if isinstance(data, ComponentScaleFailed):
                raise data.exception
            return data

        async with self.events() as feed:
            message = await self._command(component.UPDATE, request, host_id, timeout)
            if "already updated" not in message:
                await self._outcome(feed, outcome, component.UPDATE.name, host_id, wait)
            return message

    async def prepare_component(self, host_id: str, image: str, *, timeout: float = TIMEOUT) -> str:
        """Asks a host of ours to fetch and compile an image that it may have to run later.

        Acknowledged at once, done in the background; `HostInventory.prepared` lists what is ready. A v1 host
        does not know it and raises.
        """
        request = Prepare(component_ref=image, host_id=host_id)
        return await self._command(component.PREPARE, request, host_id, timeout)
