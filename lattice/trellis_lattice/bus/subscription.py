"""What is received over a connection: messages, interest in a subject, and subjects of our own for answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from nats.aio.subscription import Subscription as NatsSubscription

if TYPE_CHECKING:
    from trellis_lattice.bus.connection import Connection

__all__ = ["Callback", "Inbox", "Message", "Subscription"]

_log = logging.getLogger("trellis.bus")

_MAX_QUEUED_MESSAGES = 64 * 1024
_MAX_QUEUED_BYTES = 64 * 1024 * 1024


class Message(Protocol):
    """What a subscription delivers. `headers` is None if there are none; `reply` is empty if none is awaited."""

    @property
    def subject(self) -> str: ...
    @property
    def reply(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> dict[str, str] | None: ...


Callback = Callable[[Message], None]


class Subscription:
    """Interest in a subject; `unsubscribe` ends it."""

    __slots__ = ("_callback", "_connection", "_raw", "max_bytes", "max_messages", "queue", "subject")

    def __init__(self, connection: Connection, subject: str, queue: str, callback: Callback) -> None:
        self._connection = connection
        self._callback = callback
        self._raw: NatsSubscription | None = None
        self.subject = subject
        self.queue = queue
        self.max_messages = _MAX_QUEUED_MESSAGES
        self.max_bytes = _MAX_QUEUED_BYTES

    async def unsubscribe(self) -> None:
        """No further message is delivered. Idempotent; never fails."""
        await self._connection._unsubscribe(self)

    async def drain(self, *, deadline: float) -> None:
        """As `unsubscribe`, but messages that are on their way are still delivered, until `deadline` (loop time)."""
        await self._connection._drain(self, deadline)

    async def _deliver(self, message: Message) -> None:
        self._deliver_now(message)

    def _deliver_now(self, message: Message) -> None:
        try:
            self._callback(message)
        except Exception:
            _log.exception("A message on %s was lost: its handler failed", message.subject)


class Inbox:
    """A subject of our own for any number of answers; costs no subscription at the server."""

    __slots__ = ("_connection", "_token", "subject")

    def __init__(self, connection: Connection, token: str, subject: str) -> None:
        self._connection = connection
        self._token = token
        self.subject = subject

    def close(self) -> None:
        """Later messages are dropped. Idempotent."""
        self._connection._inboxes.pop(self._token, None)
