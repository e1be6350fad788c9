"""Publishing events and hearing of them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import TrellisError
from trellis_lattice.events import Event, LatticeEvent, build, parse

__all__ = ["EventPublisher", "listen"]

_log = logging.getLogger("trellis.events")


class EventPublisher:
    """Publishes what happens to one host."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        source: str,
        *,
        prefix: str = subjects.EVENT_PREFIX,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._connection = connection
        self._lattice = lattice
        self._source = source
        self._prefix = prefix
        self._clock = clock
        self._new_id = new_id

    async def publish(self, event: Event) -> bool:
        """False, and a warning in the log, if it could not be sent: an event is news, not state."""
        payload = build(event, source=self._source, id=self._new_id(), time=self._clock())
        try:
            await self._connection.publish(subjects.event(self._lattice, event.kind, prefix=self._prefix), payload)
        except TrellisError as error:
            _log.warning("The event %s was not published: %s", event.kind, error)
            return False
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
