"""Tells a host's log and inventory whether the host is cut off from its lattice (the rules are in `bus.reach`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import islice

from trellis_lattice.bus.membership import Change
from trellis_lattice.bus.reach import Cut, Reach

__all__ = ["Standing"]

_log = logging.getLogger("trellis.host")


class Standing:
    """`clock` in seconds; `changed` is called when what the inventory says has changed."""

    def __init__(self, host_id: str, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self._host_id = host_id
        self._clock = clock
        self._changed = changed
        self._reach = Reach()

    def connection(self, connected: bool) -> None:
        """The connection to NATS was lost, or is back."""
        self._tell(self._reach.connection(connected, self._clock()))

    def member(self, change: Change, members: Iterable[str]) -> None:
        """Something happened to a host; `members` are those that are heard after it, maybe with this one."""
        if change.host != self._host_id:
            others = list(islice((host for host in members if host != self._host_id), 1))  # one is enough
            self._tell(self._reach.member(change, others, self._clock()))

    def told(self) -> str | None:
        """What the inventory says of it."""
        return self._reach.told(self._clock())

    def _tell(self, cut: Cut | None) -> None:
        if cut is None:
            return
        if cut.until is None:
            _log.warning("This host is partitioned: %s. It goes on serving what it has", cut.why.value)
        else:
            _log.warning("This host is back in its lattice after %.1f s: %s", cut.until - cut.since, cut.why.value)
        self._changed()
