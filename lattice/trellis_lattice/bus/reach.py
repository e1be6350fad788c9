"""Whether a host is cut off from its lattice, as far as it can tell. Pure: every method is told what time it is.

A host that is cut off goes on serving what it has; what it must not do is take that for the whole truth. It is
cut off when its connection to NATS is lost, and when several hosts fell silent at about the same time so that none
is left: then it is likelier that the network between them broke than that all of them died. (A single other host
that falls silent is not held against the network.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from trellis_lattice.bus.membership import Change, ChangeKind

__all__ = ["Cut", "Reach", "Why"]

_TOGETHER = 5.0
"""Seconds within which the others must have fallen silent."""
_REMEMBERED = 600.0
"""Seconds for which a host tells that it was cut off."""


class Why(Enum):
    """What a cut looks like from here; the value ends a sentence."""

    CONNECTION = "the connection to NATS was lost"
    SILENCE = "all other hosts fell silent"


@dataclass(frozen=True, slots=True)
class Cut:
    """A time without the lattice; `until` is None while it lasts."""

    why: Why
    since: float
    until: float | None = None

    def told(self, now: float) -> str:
        """A sentence for people: how long, and why. The point in time stays out: clocks of machines differ."""
        if self.until is None:
            return f"Cut off from its lattice for {now - self.since:.1f} s now: {self.why.value}."
        return (
            f"Was cut off from its lattice for {self.until - self.since:.1f} s, until {now - self.until:.0f} s ago: "
            f"{self.why.value}."
        )


class Reach:
    """What one host knows of its own reach. What is told to it answers with the cut that began or ended by it."""

    def __init__(self) -> None:
        self._silent: deque[float] = deque(maxlen=2)
        """When other hosts fell silent, the last two."""
        self._cut: Cut | None = None
        self._last: Cut | None = None

    @property
    def cut(self) -> Cut | None:
        """The present one."""
        return self._cut

    def connection(self, connected: bool, now: float) -> Cut | None:
        """The connection to NATS was lost, or is back."""
        if not connected:
            return (
                self._begin(Why.CONNECTION, now) if self._cut is None or self._cut.why is not Why.CONNECTION else None
            )
        return self._end(now) if self._cut is not None and self._cut.why is Why.CONNECTION else None

    def member(self, change: Change, others: Collection[str], now: float) -> Cut | None:
        """Something happened to another host; `others` are those that are heard after it."""
        silent = self._cut is not None and self._cut.why is Why.SILENCE
        if change.kind is not ChangeKind.GONE:
            return self._end(now) if silent and others else None
        self._silent.append(now)
        together = len(self._silent) == 2 and now - self._silent[0] <= _TOGETHER
        return self._begin(Why.SILENCE, now) if together and not others and self._cut is None else None

    def told(self, now: float) -> str | None:
        """What to say of it at present: of a cut that lasts, or that ended a while ago."""
        cut = self._cut or self._last
        if cut is None or (cut.until is not None and now - cut.until > _REMEMBERED):
            return None
        return cut.told(now)

    def _begin(self, why: Why, now: float) -> Cut:
        since = self._cut.since if self._cut is not None else now
        self._cut = Cut(why, since)
        return self._cut

    def _end(self, now: float) -> Cut:
        assert self._cut is not None
        self._last, self._cut = Cut(self._cut.why, self._cut.since, now), None
        return self._last
