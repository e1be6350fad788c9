"""Publishing events, hearing of them, waiting for one."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Self, TypeVar

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import TOO_LARGE, DeadlineExceeded, TrellisError
from trellis_lattice.events import Event, LatticeEvent, build, parse

__all__ = ["EventFeed", "EventPublisher", "listen"]

_log = logging.getLogger("trellis.events")

T = TypeVar("T")

_MAX_HELD = 4096


class EventPublisher:
    """Publishes what happens to one host. `sent` is told each event as it went out."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        source: str,
        *,
        prefix: str = subjects.EVENT_PREFIX,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        sent: Callable[[bytes], None] = lambda payload: None,
    ) -> None:
        self._connection = connection
        self._lattice = lattice
        self._source = source
        self._prefix = prefix
        self._clock = clock
        self._new_id = new_id
        self._sent = sent
        self._too_large: set[str] = set()

    async def publish(self, event: Event) -> bool:
        """False, and a warning in the log, if it could not be sent: an event is news, not state.

        Of those of one kind that are larger than NATS takes, such as heartbeats, the first is warned of.
        """
        payload = build(event, source=self._source, id=self._new_id(), time=self._clock())
        try:
            await self._connection.publish(subjects.event(self._lattice, event.kind, prefix=self._prefix), payload)
        except TrellisError as error:
            if error.fields.get("reason") != TOO_LARGE or event.kind not in self._too_large:
                _log.warning("The event %s was not published: %s", event.kind, error)
            if error.fields.get("reason") == TOO_LARGE:
                self._too_large.add(event.kind)
            return False
        self._too_large.discard(event.kind)
        self._sent(payload)
        return True


async def listen(
    connection: Connection,
    lattice: str,
    callback: Callable[[LatticeEvent], None],
    *,
    kind: str | None = None,
    prefix: str = subjects.EVENT_PREFIX,
) -> Subscription:
    """Calls the plain function `callback` for every event of the lattice, or of one kind."""

    def receive(message: Message) -> None:
        event = parse(message.data)
        if event is None:
            _log.debug("Not an event of a lattice: %s", message.subject)
        else:
            callback(event)

    subject = subjects.event(lattice, kind, prefix=prefix) if kind else subjects.events(lattice, prefix=prefix)
    return await connection.subscribe(subject, receive)


class EventFeed:
    """Events from the moment it is entered on: subscribe first, then do what they will tell about.

    async with EventFeed(connection, "default") as feed:
        ...
        scaled = await feed.wait(lambda e: e.event if e.kind == "component_scaled" else None, deadline=...)
    """

    def __init__(self, connection: Connection, lattice: str, *, prefix: str = subjects.EVENT_PREFIX) -> None:
        self._connection = connection
        self._lattice = lattice
        self._prefix = prefix
        self._held: deque[LatticeEvent] = deque(maxlen=_MAX_HELD)
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._subscription = await listen(self._connection, self._lattice, self._hold, prefix=self._prefix)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def wait(self, choose: Callable[[LatticeEvent], T | None], *, deadline: float) -> T:
        """The first thing other than None that `choose` makes of an event; what it passes over is dropped.

        Raises `DeadlineExceeded`, and whatever `choose` raises.
        """
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    while self._held:
                        chosen = choose(self._held.popleft())
                        if chosen is not None:
                            return chosen
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise DeadlineExceeded(
                f"The event that was waited for did not come in time on lattice `{self._lattice}`."
            ) from None

    def _hold(self, event: LatticeEvent) -> None:
        self._held.append(event)
        self._arrived.set()
