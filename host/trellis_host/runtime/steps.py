"""What a host does for one workload and may be told to leave: a launch, or the way of links and config to a provider.

The laws of this file: one step per workload at a time; a step that is interrupted has failed; after `close` no
step begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from trellis_host.runtime.background import reason_of
from trellis_lattice.errors import TrellisError, Unavailable

__all__ = ["Steps"]

_LATE = 1.0
"""Seconds for a step to end when its host does not wait for it any more."""


class Steps:
    """The steps of one host."""

    def __init__(self, host_id: str) -> None:
        self._host_id = host_id
        self._running: dict[str, asyncio.Task[None]] = {}
        self.closed = False

    async def run(self, workload: str, work: Coroutine[Any, Any, None], name: str) -> TrellisError | None:
        """Does `work`; says why it failed."""
        if self.closed:
            work.close()
            return self.stopping()
        step = self._running[workload] = asyncio.create_task(work, name=f"{name} {workload}")
        try:
            await asyncio.wait((step,))
        except asyncio.CancelledError:
            step.cancel()
            await asyncio.wait((step,), timeout=_LATE)
            raise
        finally:
            del self._running[workload]
        return reason_of(step)

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return bool(self._running)

    def interrupt(self, workload: str) -> None:
        """Cancels the step of a workload, if there is one."""
        step = self._running.get(workload)
        if step is not None and not step.cancelling():
            step.cancel()

    def close(self) -> None:
        """Interrupts all steps, and lets no other begin."""
        self.closed = True
        for workload in tuple(self._running):
            self.interrupt(workload)

    def stopping(self) -> Unavailable:
        """Why nothing begins any more."""
        return Unavailable(f"The host {self._host_id} is stopping.", remedy="Start it on another host.")
