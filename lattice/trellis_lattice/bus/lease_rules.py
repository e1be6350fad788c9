"""Who may hold a lease, and when it has to be written. Pure: every method is told what time it is.

A lease is one key of a bucket. Its holder writes it anew before it runs out; everyone else watches its
revision and takes over when it has not changed for the whole time to live, on their own clock: no two clocks
are ever compared. Since others start counting after the write and the holder before it, the holder stops
trusting its lease before anyone else may take it. Every write names the revision it is based on, so of two
takers one wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = ["Action", "LeaseRecord", "LeaseRules", "Look", "Wait", "Write"]

_LONGEST = 60.0
"""Seconds; a foreign record cannot lock everyone out for longer."""
_SETTLE = 0.05
"""Seconds from a hint that somebody writes until the store has it."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What is stored: who holds the lease, which process of it, and for how many seconds after each write."""

    holder: str
    boot: int
    ttl: float
    renewal: int = field(default=0, compare=False)
    """Grows with every write of one process, so that who hears of a write knows it again in the store; 0: not told."""

    def encode(self) -> bytes:
        wire = {"holder": self.holder, "boot": self.boot, "ttl": self.ttl}
        return json.dumps(wire | {"n": self.renewal} if self.renewal else wire, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> LeaseRecord | None:
        """None if it cannot be read: then it protects nobody."""
        try:
            wire = json.loads(value)
        except (ValueError, RecursionError):
            return None
        if not isinstance(wire, Mapping):
            return None
        holder, boot, ttl = wire.get("holder"), wire.get("boot"), wire.get("ttl")
        if not isinstance(holder, str) or type(boot) is not int or isinstance(ttl, bool):
            return None
        if not isinstance(ttl, int | float) or not 0 < ttl <= _LONGEST:
            return None
        renewal = wire.get("n")
        return cls(holder, boot, float(ttl), renewal if type(renewal) is int and renewal > 0 else 0)


@dataclass(frozen=True, slots=True)
class Look:
    """Read the key now."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write our record over that revision (0: the key is absent)."""

    expected: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until then."""

    until: float


Action = Look | Write | Wait


class LeaseRules:
    """One candidate's view of one lease."""

    def __init__(self, holder: str, boot: int, ttl: float) -> None:
        self.record = LeaseRecord(holder, boot, ttl)
        self.term = 0
        """The revision with which we took the lease: who writes elsewhere under its protection names this."""
        self._revision: int | None = None
        """Newest revision known of the key; 0: absent."""
        self._owner: LeaseRecord | None = None
        self._since = 0.0
        self._heard: int | None = None
        """The renewal that `_since` counts from, if that was heard and not read."""
        self._renewals = 0
        self._valid_until = float("-inf")
        self._looked = float("-inf")
        self._wrote = float("-inf")

    @property
    def period(self) -> float:
        """Seconds between two renewals, or two looks."""
        return self.record.ttl / 3

    def held(self, now: float) -> bool:
        """Whether we hold the lease at this moment."""
        return now < self._valid_until

    @property
    def owner(self) -> str | None:
        """Who was last seen holding it."""
        return self._owner.holder if self._owner is not None else None

    @property
    def revision(self) -> int:
        return self._revision or 0

    def next(self, now: float) -> Action:
        """What to do."""
        if self._owner is not None and self._owner == self.record and self._valid_until > float("-inf"):
            due = self._wrote + self.period
            return Write(self.revision) if now >= due else Wait(due)
        if now >= self._looked + self.period:
            return Look()
        if self._revision == 0:
            return Write(0)
        if self._revision is not None and self._is_free(now):
            return Write(self._revision)
        again = self._looked + self.period
        return Wait(again if self._owner is None else min(again, self._since + self._owner.ttl))

    def _is_free(self, now: float) -> bool:
        owner, me = self._owner, self.record
        if owner is None or now >= self._since + owner.ttl:
            return True
        # An earlier process of the same host is dead; a later one is not.
        return owner.holder == me.holder and owner.boot <= me.boot

    def renewal(self) -> LeaseRecord:
        """Our record, as it is written next."""
        self._renewals += 1
        return replace(self.record, renewal=self._renewals)

    def stirred(self, now: float, record: LeaseRecord | None = None) -> None:
        """Somebody is writing the key, that `record` if it is known.

        If its holder renews it, nobody has to read that. Whatever else it will be is worth a look, sooner than the
        next one is due. Only a hint: hints may be lost, and the write may be refused. It proves nothing about who
        holds the lease, only that waiting goes on.
        """
        owner = self._owner
        if record is not None and record == owner and record.renewal > owner.renewal:
            self._owner, self._since, self._heard = record, now, record.renewal
            # The next look is due when the renewal after this one should have been heard for long.
            self._looked = now + self.period
        else:
            self._looked = min(self._looked, now + _SETTLE - self.period)

    def saw(self, revision: int, record: LeaseRecord | None, now: float) -> None:
        """The key was read; revision 0: it is absent."""
        self._looked = now
        if revision == self._revision:
            return
        if record is None or record != self._owner or record.renewal != self._heard:
            self._since, self._heard = now, None
        self._revision, self._owner = revision, record

    def wrote(self, revision: int, started: float) -> None:
        """Our write, begun at `started`, was accepted."""
        if self._valid_until <= started:
            self.term = revision
        self._revision, self._owner, self._since, self._heard = revision, self.record, started, None
        self._wrote = started
        self._valid_until = started + self.record.ttl

    def refused(self) -> None:
        """Our write came too late: somebody else holds the lease now, or it was removed."""
        self._lose()

    def failed(self, now: float) -> None:
        """Whether our write arrived is unknown. We trust the lease no longer than before, and look again."""
        if not self.held(now):
            self._lose()
        self._wrote = now

    def gave_up(self) -> None:
        """We removed it."""
        self._lose()

    def _lose(self) -> None:
        self._valid_until = float("-inf")
        self._revision, self._owner, self._heard = None, None, None
        self._looked = float("-inf")
