"""Which hosts are alive, by their beats. Pure: every method is told what time it is.

The laws of this file: silence is a host's fault only while we can hear (connected, and our own event loop
running); the newest boot of a host id counts, beats of older ones are ignored; whoever says goodbye is gone at
once, and so is whoever is asked (`Probe`) and has nobody listening; who does not answer in time is gone a little
earlier than one that nobody asked; a word from a host after it was asked settles the question; every change is
reported exactly once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

__all__ = ["Beat", "Change", "ChangeKind", "Member", "Membership", "Probe", "Timing"]

MAX_BEAT = 200
"""Bytes; a beat goes to every host of the lattice each second."""
_MAX_MEMBERS = 10_000


class Beat(NamedTuple):
    """A sign of life of one host. (A tuple is made in a third of the time that a frozen dataclass takes.)

    `boot`: milliseconds since 1970 when its process started; `sequence` grows by one per beat; `revision` grows
    with every change of what the host runs; `load` from 0 (idle) to 1 (full).
    """

    host: str
    boot: int
    sequence: int
    revision: int = 0
    load: float = 0.0
    draining: bool = False
    leaving: bool = False
    """The last beat: the process ends."""
    memory: float = 0.0
    """Share (0 to 1) of the memory available to the host that is in use; 0: it does not say."""

    def encode(self) -> bytes:
        """JSON of less than 200 bytes. The subject that it is sent to names the host."""
        wire: dict[str, object] = {
            "boot": self.boot,
            "seq": self.sequence,
            "rev": self.revision,
            "load": _rounded(self.load),
        }
        if memory := _rounded(self.memory):
            wire["mem"] = memory
        flags = [name for name, on in (("draining", self.draining), ("leaving", self.leaving)) if on]
        if flags:
            wire["flags"] = flags
        return json.dumps(wire, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes, host: str) -> Beat | None:
        """What `host` said; None for anything that is not a beat."""
        try:
            wire = json.loads(payload) if len(payload) <= 2 * MAX_BEAT else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(wire, dict):
            return None
        get = wire.get
        flags = get("flags", _NO_FLAGS)
        load, memory = _share(get("load", 0.0)), _share(get("mem", 0.0))
        boot, sequence, revision = get("boot", -1), get("seq", -1), get("rev", 0)
        if not isinstance(flags, list) or load is None or memory is None:
            return None
        if not (_is_count(boot) and _is_count(sequence) and _is_count(revision)):
            return None
        return cls(host, boot, sequence, revision, load, "draining" in flags, "leaving" in flags, memory)


_NO_FLAGS: list[object] = []


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _share(value: object) -> float | None:
    if type(value) is float or type(value) is int:
        return float(value) if 0 <= value <= 1 else None
    return None


def _rounded(share: float) -> float:
    return round(min(max(share, 0.0), 1.0), 2)


class ChangeKind(Enum):
    """What happened to a member."""

    JOINED = "joined"
    RESTARTED = "restarted"
    """The same host id, another process: whatever the old one ran is gone."""
    UPDATED = "updated"
    """Its revision or its flags changed: its inventory is to be read again."""
    SUSPECT = "suspect"
    RECOVERED = "recovered"
    GONE = "gone"
    """Silent for too long."""
    LEFT = "left"
    """Said goodbye."""


@dataclass(frozen=True, slots=True)
class Change:
    kind: ChangeKind
    host: str
    beat: Beat
    """The last one heard."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question to one host, whether it lives: to be asked now, and to be answered until then."""

    host: str
    boot: int
    asked: float
    until: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of silence. One late beat makes suspect; `gone_after` survives one lost beat at one beat a second."""

    suspect_after: float = 1.25
    answer_after: float = 2.0
    """Until when a suspect that is asked must have answered."""
    gone_after: float = 2.5
    tick: float = 0.25
    """How often `tick` is called."""
    doubt_after: float = 0.25
    """A host that was heard more recently is not asked because of a hint, and hints count once in this time."""
    answer_within: float = 0.5
    """The least time that anybody gets for an answer."""


_UNHEARD = -1
"""The sequence in place of the first beat of a host that is only expected."""
_DOUBTED = 8
"""Hosts that are asked because of one hint: those not heard for the longest time."""


@dataclass(slots=True)
class Member:
    """A host that was heard and is not gone."""

    beat: Beat
    heard: float
    """When, on the caller's clock; moved forward by the time during which we could not hear."""
    suspect: bool = False
    asked: float = float("-inf")
    """When it was asked for the last time."""


class Membership:
    """The members of one lattice."""

    def __init__(self, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self._members: dict[str, Member] = {}
        self._left: dict[str, tuple[int, float]] = {}
        self._ticked: float | None = None
        self._deaf_since: float | None = None
        self._doubted = float("-inf")

    @property
    def members(self) -> Mapping[str, Member]:
        """Alive and suspect ones, by host id; with those that are expected."""
        return self._members

    def hear(self, beat: Beat, now: float) -> list[Change]:
        """A beat arrived."""
        member = self._members.get(beat.host)
        if member is None:
            return self._meet(beat, now)
        old = member.beat
        if (beat.boot, beat.sequence) <= (old.boot, old.sequence):
            return []
        if beat.leaving:
            return self._drop(beat, ChangeKind.LEFT, now)
        was_suspect, member.suspect = member.suspect, False
        member.beat, member.heard = beat, now
        if old.sequence == _UNHEARD:
            return [Change(ChangeKind.JOINED, beat.host, beat)]
        if beat.boot != old.boot:
            return [Change(ChangeKind.RESTARTED, beat.host, beat)]
        changes = [Change(ChangeKind.RECOVERED, beat.host, beat)] if was_suspect else []
        if (beat.revision, beat.draining) != (old.revision, old.draining):
            changes.append(Change(ChangeKind.UPDATED, beat.host, beat))
        return changes

    def expect(self, host: str, now: float) -> None:
        """A host that was not heard, but did something for us: it is to be heard from now on, or is gone in time."""
        if host not in self._members and self._deaf_since is None and len(self._members) < _MAX_MEMBERS:
            self._members[host] = Member(Beat(host, 0, _UNHEARD), now)

    def tick(self, now: float) -> list[Change]:
        """Time passed. Call it every `timing.tick` seconds; if we were held up, that is not held against others."""
        late = now - self._ticked - 2 * self.timing.tick if self._ticked is not None else 0.0
        self._ticked = now
        if self._deaf_since is not None:
            return []
        if late > 0:
            self._forgive(late, now)
        changes: list[Change] = []
        for member in list(self._members.values()):
            silent = now - member.heard
            if silent >= self.timing.gone_after:
                changes += self._drop(member.beat, ChangeKind.GONE, now)
            elif silent >= self.timing.suspect_after and not member.suspect:
                member.suspect = True
                changes.append(Change(ChangeKind.SUSPECT, member.beat.host, member.beat))
        return changes

    def suspects(self, now: float, wanted: Callable[[str], bool] = lambda host: True) -> list[Probe]:
        """The suspect ones that were not asked yet and are `wanted`: to be asked now."""
        if self._deaf_since is not None:
            return []
        return [
            self._ask(member, now)
            for member in self._members.values()
            if member.suspect and member.asked < member.heard + self.timing.suspect_after and wanted(member.beat.host)
        ]

    def doubt(self, now: float) -> list[Probe]:
        """Something says that a host may be gone, but not which one: those not heard for longest are to be asked."""
        if self._deaf_since is not None or now < self._doubted + self.timing.doubt_after:
            return []
        self._doubted = now
        quiet = [
            member
            for member in self._members.values()
            if now - member.heard >= self.timing.doubt_after and now - member.asked >= self.timing.answer_within
        ]
        return [self._ask(member, now) for member in sorted(quiet, key=lambda each: each.heard)[:_DOUBTED]]

    def absent(self, probe: Probe, now: float) -> list[Change]:
        """Nobody listens on behalf of a host that was asked: its process has ended, or lost its connection."""
        return self._condemn(probe, now)

    def unanswered(self, probe: Probe, now: float) -> list[Change]:
        """A host that was asked did not answer in time. Only a suspect is gone because of that."""
        member = self._members.get(probe.host)
        return self._condemn(probe, now) if member is not None and member.suspect else []

    def _ask(self, member: Member, now: float) -> Probe:
        member.asked = now
        until = max(member.heard + self.timing.answer_after, now + self.timing.answer_within)
        return Probe(member.beat.host, member.beat.boot, now, until)

    def _condemn(self, probe: Probe, now: float) -> list[Change]:
        member = self._members.get(probe.host)
        if member is None or self._deaf_since is not None:
            return []
        if member.beat.boot != probe.boot or member.heard >= probe.asked:
            return []
        return self._drop(member.beat, ChangeKind.GONE, now)

    def deaf(self, now: float) -> None:
        """Our connection is lost: nobody's silence counts until `hearing`."""
        if self._deaf_since is None:
            self._deaf_since = now

    def hearing(self, now: float) -> None:
        """Our connection is back."""
        if self._deaf_since is not None:
            self._forgive(now - self._deaf_since, now)
            self._deaf_since = None

    def _forgive(self, seconds: float, now: float) -> None:
        for member in self._members.values():
            member.heard = min(now, member.heard + seconds)

    def _meet(self, beat: Beat, now: float) -> list[Change]:
        boot, until = self._left.get(beat.host, (-1, now))
        if beat.leaving or (beat.boot <= boot and now < until) or len(self._members) >= _MAX_MEMBERS:
            return []
        self._left.pop(beat.host, None)
        self._members[beat.host] = Member(beat, now)
        return [Change(ChangeKind.JOINED, beat.host, beat)]

    def _drop(self, beat: Beat, kind: ChangeKind, now: float) -> list[Change]:
        del self._members[beat.host]
        if kind is ChangeKind.LEFT:
            # A beat of that process that was on its way must not bring it back.
            self._left[beat.host] = (beat.boot, now + self.timing.gone_after)
            while len(self._left) > _MAX_MEMBERS:
                del self._left[next(iter(self._left))]
        return [Change(kind, beat.host, beat)]
