"""How components and providers leave a host that may go on without them.

The laws of this file: whatever leaves is first taken out of routing, then finishes what it has begun, then ends; a
component drains beside what follows, as long as its own calls may take; everything has a bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from trellis_host.runtime.background import Background
from trellis_host.runtime.components import RunningComponent
from trellis_host.runtime.providers import RunningProvider
from trellis_host.runtime.router import LocalService, Router
from trellis_lattice.bus.connection import Subscription
from trellis_lattice.invocation.server import Serving

__all__ = ["Departures", "Served"]

_log = logging.getLogger("trellis.host")

LONGEST = 600.0
"""Seconds that a component which leaves a running host may still take for calls it has begun."""


@dataclass(slots=True, eq=False)
class Served:
    """A workload, where it answers calls from the lattice."""

    service: LocalService
    serving: Serving
    description: Subscription

    @property
    def in_flight(self) -> int:
        """Calls that are executed, from this host and from others."""
        service = self.service
        return max(self.serving.in_flight, service.in_flight if isinstance(service, RunningComponent) else 0)


class Departures:
    """Those that leave one host."""

    def __init__(self, router: Router, tasks: Background) -> None:
        self._router = router
        self._tasks = tasks
        self._leaving: dict[Served, asyncio.Task[None]] = {}

    @property
    def leaving(self) -> list[Served]:
        """What has been taken out of routing and still has something to do."""
        return list(self._leaving)

    def beside(self, served: Served) -> None:
        """Begins to leave."""
        service = served.service
        longest = min(LONGEST, service.timeout) if isinstance(service, RunningComponent) else LONGEST
        leaving = self.leave(served, asyncio.get_running_loop().time() + longest)
        task = self._tasks.create_task(leaving, name=f"drain {served.serving.target}")
        self._leaving[served] = task
        task.add_done_callback(lambda _: self._leaving.pop(served, None))

    async def leave(self, served: Served, until: float) -> None:
        service = served.service
        self._router.remove(served.serving.target, service)
        await self.stop_serving(served, until)
        if isinstance(service, RunningProvider):
            await service.stop(max(0.0, until - asyncio.get_running_loop().time()))
        elif isinstance(service, RunningComponent):
            await self.finish([service], until)
            self.end(service)

    async def stop_serving(self, served: Served, until: float) -> None:
        """No more calls from the lattice; those that came are finished."""
        await served.description.unsubscribe()
        await served.serving.aclose(grace=max(0.0, until - asyncio.get_running_loop().time()))

    async def finish(self, components: Sequence[LocalService], until: float) -> None:
        """Waits until none of the components has anything to do: one that is idle may be called by another."""
        busy = [each for each in components if isinstance(each, RunningComponent)]
        try:
            async with asyncio.timeout_at(until):
                while any(each.in_flight for each in busy):
                    for each in busy:
                        await each.slots.idle()
        except TimeoutError:
            for each in busy:
                if each.in_flight:
                    _log.warning("Component %s still ran %d invocations when it left", each.spec.id, each.in_flight)

    def end(self, service: LocalService) -> None:
        if isinstance(service, RunningComponent):
            self._router.remove(service.spec.id, service)
            service.close()

    async def over(self, until: float) -> None:
        """Waits for those that leave, at most until then."""
        if self._leaving:
            left = max(0.0, until - asyncio.get_running_loop().time())
            await asyncio.wait(tuple(self._leaving.values()), timeout=left)
