"""Which inventories are asked for, and how long anybody waits for them. Pure; times are arguments.

The laws of this file: a host is asked once for the same news; an answer counts for the news it was asked with; a
pass waits for those that will probably answer; whoever stands by asks gently, and only a few do at all.
"""

from __future__ import annotations

from trellis_wadm.actions import AskInventory
from trellis_wadm.picture import Picture

__all__ = ["FRONT_ROW", "Questions"]

PATIENCE = 0.3
"""Seconds that a pass waits for inventories of hosts whose beats are heard."""
FIRST_PATIENCE = 2.0
"""Seconds that the first pass of a term waits for them: it knows least, and nothing else tells what runs there."""
FRONT_ROW = 4
"""How many hosts keep all inventories at hand, to take over without asking; more would only cost traffic."""
STANDBY_SETTLING = 1.0
"""Seconds of rest between two questions to one host by one that stands by, at least."""
STANDBY_RATE = 25
"""Questions a second by one that stands by, at most: while a large lattice changes everywhere, asking must not cost
more than changing. Whoever leads next asks for what is missing."""


class Questions:
    """What was asked and not answered yet."""

    def __init__(self, picture: Picture, host_id: str) -> None:
        self._picture = picture
        self._host_id = host_id
        self._open: dict[str, int] = {}
        self._missing: set[str] = set()
        self.until = 0.0
        """When the pass waits no longer."""

    def ask_all(self, now: float, *, first: bool) -> list[AskInventory]:
        """What a pass wants to know, and for whom it waits: not for a silent host of which something is known."""
        asked = [question for id in self._picture.to_ask(now) if (question := self._ask(id, now))]
        files = self._picture.hosts
        self._missing = {id for id in self._open if not files[id].suspect or files[id].inventory is None}
        self.until = now + (FIRST_PATIENCE if first else PATIENCE)
        return asked

    def waiting(self, now: float) -> bool:
        """Whether a pass should still wait for answers."""
        files = self._picture.hosts
        self._missing = {id for id in self._missing if (file := files.get(id)) is not None and file.live}
        return bool(self._missing) and now < self.until

    def answered(self, host: str, covers: int) -> bool:
        """Notes an answer, or that there is none; returns whether a pass was waiting for it."""
        if self._open.get(host) != covers:
            return False
        del self._open[host]
        waited = host in self._missing
        self._missing.discard(host)
        return waited

    def asked_at(self, host: str, covers: int) -> float | None:
        """When the question was asked that has this answer; None if another was asked since."""
        file = self._picture.hosts.get(host)
        return file.asked if file is not None and self._open.get(host) == covers else None

    def stand_by(self, now: float) -> tuple[list[AskInventory], float | None]:
        """What one that does not lead asks to stay current, and when it wants to ask more."""
        if not self._in_front_row():
            return [], None
        asked: list[AskInventory] = []
        later: list[float] = []
        settling = max(STANDBY_SETTLING, len(self._picture.hosts) / STANDBY_RATE)
        for id, file in self._picture.hosts.items():
            if not file.live or not file.stale or id in self._open:
                continue
            due = file.asked + settling
            if now < due:
                later.append(due)
            elif question := self._ask(id, now):
                asked.append(question)
        return asked, min(later, default=None)

    def _ask(self, id: str, now: float) -> AskInventory | None:
        if self._open.get(id) == self._picture.hosts[id].news:
            return None
        covers = self._open[id] = self._picture.asking(id, now)
        return AskInventory(id, covers)

    def _in_front_row(self) -> bool:
        ahead = 0
        for id, file in self._picture.hosts.items():
            if file.live and id < self._host_id:
                ahead += 1
                if ahead >= FRONT_ROW:
                    return False
        return True
