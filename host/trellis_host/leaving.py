"""When a host that was asked to stop may go: once the scheduler has moved what it can to others.

The laws of this file: only what a manifest manages is moved, by whoever leads the reconciliation, so a host that runs
nothing of that kind, or has nobody to give it to, goes at once; so does one whose work is, as that leader said last,
such that nobody else may take it; nobody waits beyond the time it was given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from trellis_host.runtime.launch import MANAGED_BY
from trellis_host.state import HostState
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.membership import Beat
from trellis_lattice.client import LatticeClient
from trellis_lattice.errors import TrellisError

__all__ = ["Departure", "managed", "somebody_takes"]

_log = logging.getLogger("trellis.host")

FINISH = 5.0
"""Seconds kept of the time to leave, at most a third, for what is in flight after the move."""
_FOREIGN = 0.1
"""Seconds without another answer after which no host that sends no beats is believed to be there."""


def managed(state: HostState) -> list[str]:
    """Ids of what runs here and is for the scheduler to move. Pure."""
    components = [each.id for each in state.components if MANAGED_BY in each.annotations]
    return components + [each.id for each in state.providers if MANAGED_BY in each.annotations]


def somebody_takes(beats: Iterable[Beat], own: str) -> bool:
    """Whether another host lives that is not about to leave itself. Pure."""
    return any(beat.host != own and not beat.draining and not beat.leaving for beat in beats)


class Departure:
    """The stop of one host, from the request on. `stirred` is called whenever the outcome may have changed."""

    def __init__(self, state: HostState, lattice: str) -> None:
        self._state = state
        self._lattice = lattice
        self._news = asyncio.Event()
        self.until = 0.0
        """Loop time at which the host is to be gone."""
        self._move_until = 0.0
        self._stays: frozenset[str] = frozenset()

    def begin(self, now: float, grace: float) -> None:
        """The host has `grace` seconds. Asked again, the shorter time counts."""
        until = now + grace
        if self.until and until >= self.until:
            return
        self.until = until
        self._move_until = until - min(FINISH, grace / 3)
        self.stirred()

    def stirred(self) -> None:
        self._news.set()

    def told(self, stays: Collection[str]) -> None:
        """The scheduler will not move these workloads, and all others."""
        self._stays = frozenset(stays)
        self.stirred()

    async def moved(self, connection: Connection, beats: Callable[[], Mapping[str, Beat]]) -> None:
        """Returns when nothing is left that could be moved, or the time for it is over."""
        loop = asyncio.get_running_loop()
        told = False
        while waiting := managed(self._state):
            self._news.clear()
            if self._stays.issuperset(waiting):
                _log.info("No other host may run %s", ", ".join(waiting))
                return
            heard = beats()
            if not somebody_takes(heard.values(), self._state.host_id):
                if not await self._foreign(connection, heard):
                    return
            elif loop.time() >= self._move_until:
                _log.warning("The host leaves although this was not moved: %s", ", ".join(waiting))
                return
            if not told:
                told = True
                _log.info("Waiting until another host runs %s", ", ".join(waiting))
            try:
                async with asyncio.timeout_at(self._move_until):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _foreign(self, connection: Connection, beats: Mapping[str, Beat]) -> bool:
        """Whether a host of another make is there to take something: those send no beats."""
        if asyncio.get_running_loop().time() >= self._move_until:
            return False
        try:
            found = await LatticeClient(connection, self._lattice).hosts(timeout=1.0, quiet=_FOREIGN)
        except TrellisError as error:
            _log.debug("Whether others would take its work cannot be asked: %s", error)
            return False
        return any(host.id not in beats and host.labels.get("host.impl") != "trellis" for host in found)
