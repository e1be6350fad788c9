"""Which routes are in force where several hosts accept from one listening socket. Pure.

The laws of this file: every host decides alone, and all decide the same once they have heard each other; of two
links that want the same requests the older one gets them; a host that says that a route has gone is believed at
once, one that leaves or falls silent keeps its routes for a moment, so that another host can take over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from trellis_lattice.errors import Conflict

from .routes import LinkKey, Route, conflict

__all__ = ["Announcement", "Claim", "Heard", "Merged", "Peers", "merge"]

STALE = 2.5
"""Seconds of silence after which a host no longer stands in the way of others."""
LINGER = 5.0
"""Seconds for which the routes of a host that is silent or gone stay in force, if nobody else wants them."""
TICK = 0.5
"""How often `Peers.tick` is called."""
MAX_PEERS = 1000

_Pattern = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Claim:
    """A link that wants requests. `since`: milliseconds since 1970, on the clock of the machine they share."""

    route: Route
    since: int

    @property
    def key(self) -> LinkKey:
        return self.route.key

    @property
    def pattern(self) -> _Pattern:
        return self.route.pattern


@dataclass(frozen=True, slots=True)
class Announcement:
    """What one host says of itself at one socket.

    `member` is chosen anew whenever it opens the socket; `revision` grows with every change of `claims`, which
    are None where they are left out for brevity. `peers`: the members it knows.
    """

    member: str
    revision: int
    claims: tuple[Claim, ...] | None = None
    peers: tuple[str, ...] = ()
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """`lost`: own links that have to give way, with the reason."""

    routes: tuple[Route, ...]
    lost: dict[LinkKey, Conflict] = field(default_factory=dict)


def merge(own: Iterable[Claim], live: Sequence[Iterable[Claim]], lingering: Sequence[Iterable[Claim]] = ()) -> Merged:
    """What answers requests here. `own`: of this host; `live`, `lingering`: of each of the others.

    A link that several hosts have is one link: its own version counts here, else the newest. Among links with the
    same pattern the one that any host has had for longest wins, then the one that comes first by name.
    """
    mine = {claim.key: claim for claim in own}
    age: dict[tuple[LinkKey, _Pattern], int] = {}
    theirs: dict[LinkKey, Claim] = {}
    for claim in (*mine.values(), *(claim for claims in live for claim in claims)):
        place = (claim.key, claim.pattern)
        age[place] = min(claim.since, age.get(place, claim.since))
        if claim.key not in mine:
            theirs[claim.key] = _newer(claim, theirs.get(claim.key))
    winners: dict[_Pattern, Claim] = {}
    for claim in sorted((*mine.values(), *theirs.values()), key=lambda each: (age[each.key, each.pattern], each.key)):
        winners.setdefault(claim.pattern, claim)
    lost = {
        claim.key: conflict(claim.route, winners[claim.pattern].route)
        for claim in mine.values()
        if winners[claim.pattern].key != claim.key
    }
    left: dict[LinkKey, Claim] = {}
    for claim in (claim for claims in lingering for claim in claims):
        if claim.key not in mine and claim.key not in theirs:
            left[claim.key] = _newer(claim, left.get(claim.key))
    for claim in sorted(left.values(), key=lambda each: (each.since, each.key)):
        winners.setdefault(claim.pattern, claim)
    return Merged(tuple(winners[pattern].route for pattern in sorted(winners, key=repr)), lost)


def _newer(claim: Claim, known: Claim | None) -> Claim:
    """Of two versions of a link; the choice does not depend on their order."""
    return claim if known is None or (claim.since, repr(claim)) > (known.since, repr(known)) else known


class Heard(Enum):
    """What an announcement calls for."""

    NOTHING = "nothing"
    CHANGED = "changed"
    ASK = "ask"
    """It is of a revision whose claims are not known."""


@dataclass(slots=True)
class _Peer:
    revision: int
    claims: tuple[Claim, ...]
    heard: float
    left: bool = False
    live: bool = True


class Peers:
    """The other hosts at one socket. Every method is told what time it is, in seconds."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}
        self._ticked: float | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """Those that are live."""
        return tuple(member for member, peer in self._peers.items() if peer.live)

    @property
    def live(self) -> list[tuple[Claim, ...]]:
        return [peer.claims for peer in self._peers.values() if peer.live]

    @property
    def lingering(self) -> list[tuple[Claim, ...]]:
        return [peer.claims for peer in self._peers.values() if not peer.live]

    def hear(self, said: Announcement, now: float) -> Heard:
        """A host of this socket said something."""
        peer = self._peers.get(said.member)
        if said.leaving:
            if peer is None or peer.left:
                return Heard.NOTHING
            peer.left, peer.live, peer.heard, peer.revision = True, False, now, said.revision
            return Heard.CHANGED
        if peer is None:
            if said.claims is None or len(self._peers) >= MAX_PEERS:
                return Heard.ASK if len(self._peers) < MAX_PEERS else Heard.NOTHING
            self._peers[said.member] = _Peer(said.revision, said.claims, now)
            return Heard.CHANGED
        if peer.left or said.revision < peer.revision:
            return Heard.NOTHING  # it was on its way when something newer came
        was_live, peer.live, peer.heard = peer.live, True, now
        if said.revision > peer.revision:
            if said.claims is None:
                return Heard.ASK
            peer.revision, peer.claims = said.revision, said.claims
            return Heard.CHANGED
        return Heard.NOTHING if was_live else Heard.CHANGED

    def tick(self, now: float) -> bool:
        """Time passed; whether that changed anything. If we could not listen meanwhile, nobody's silence counts."""
        late = now - self._ticked - 2 * TICK if self._ticked is not None else 0.0
        self._ticked = now
        changed = False
        for member, peer in list(self._peers.items()):
            if late > 0:
                peer.heard = min(now, peer.heard + late)
            silent = now - peer.heard
            if peer.live and silent >= STALE:
                peer.live, changed = False, True
            if silent >= LINGER + (0.0 if peer.left else STALE):
                del self._peers[member]
                changed = True
        return changed
