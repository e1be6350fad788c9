"""The connection to NATS that everything on the lattice shares.

The laws of this file: without a connection a call fails at once and is never kept for later; whoever awaits
an answer when the connection breaks gets `Unavailable(maybe_executed)` at once; a broken connection is made
again for as long as this object lives, and subscriptions survive that; a callback is a plain function that
does not block and is called in the order messages came; deadlines are absolute, on the event loop's clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import count
from random import random
from typing import Any

import nats.errors
from nats.nuid import NUID

from trellis_lattice.bus.backoff import reconnect_delay
from trellis_lattice.bus.dial import FLUSH_TIMEOUT, dial, discard
from trellis_lattice.bus.direct import DirectClient
from trellis_lattice.bus.gathering import gather
from trellis_lattice.bus.refusals import Refusals
from trellis_lattice.bus.settings import ConnectionSettings, TlsSettings, without_secrets
from trellis_lattice.bus.subscription import Callback, Inbox, Message, Subscription
from trellis_lattice.bus.translation import disconnected, no_answerer, not_permitted, translate
from trellis_lattice.errors import TOO_LARGE, DeadlineExceeded, RequestInvalid, TrellisError

__all__ = ["Callback", "Connection", "ConnectionSettings", "Inbox", "Message", "Subscription", "TlsSettings"]

_log = logging.getLogger("trellis.bus")

_HEADER_OVERHEAD = 12
"""Bytes of `NATS/1.0` and the two line ends around a header block."""


class Connection:
    """One connection, made by `Connection.connect`, ended by `aclose`."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._client = DirectClient(settings)
        self._prefix = f"_INBOX.{NUID().next().decode()}."
        self._numbers = count(1)
        self._waiting: dict[str, tuple[str, asyncio.Future[Message | TrellisError]]] = {}
        """By the last token of the answer's subject: what was asked, and who waits."""
        self._inboxes: dict[str, Callback] = {}
        self._subscriptions: dict[Subscription, None] = {}
        self._listeners: list[Callable[[bool], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self.refusals = Refusals()
        """What the server did not permit so far."""

    # Life

    @classmethod
    async def connect(cls, settings: ConnectionSettings, *, timeout: float, patient: bool = False) -> Connection:
        """Connects within `timeout` seconds.

        Without `patient` it gives up as soon as every url has failed once. Raises `Unavailable` or `Denied`.
        """
        self = cls(settings)
        deadline = asyncio.get_running_loop().time() + timeout
        self._client = await dial(settings, self, deadline=deadline, patient=patient)
        replies = Subscription(self, f"{self._prefix}*", "", self._on_reply)
        self._subscriptions[replies] = None
        try:
            await self._resubscribe(replies)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def aclose(self) -> None:
        """Sends what is pending, closes, and fails whoever still awaits an answer. Idempotent."""
        if self._closing:
            return
        self._closing = True
        self._fail_waiting()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await discard(self._client)
        self._listeners.clear()
        self._subscriptions.clear()
        self._inboxes.clear()

    @property
    def connected(self) -> bool:
        return self._client.is_connected and not self._closing

    @property
    def max_payload(self) -> int:
        """The largest message, headers included, in bytes."""
        return int(self._client.max_payload)

    @property
    def server_info(self) -> Mapping[str, Any]:
        """What the server told about itself (`INFO` of the NATS protocol): `server_name`, `version`, `jetstream`, …"""
        return self._client.server_info

    @property
    def certificate_until(self) -> str | None:
        """When the server's TLS certificate expires (`ssl.cert_time_to_seconds` reads it); None without TLS."""
        return self._client.certificate_until

    @property
    def asked_alive(self) -> int:
        """How often the server has asked whether we live (only connections that are silent are asked)."""
        return self._client.asked_alive

    @property
    def url(self) -> str:
        """The server we are connected to, without secrets; else all we know."""
        connected = self._client.connected_url
        return without_secrets(connected.geturl()) if connected is not None else self.settings.shown

    def listen(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """Calls `listener(connected)` after every loss and return of the connection; gives back how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # Messages

    async def publish(
        self, subject: str, payload: bytes = b"", *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Hands a message over; does not wait for its arrival.

        Raises `Unavailable` without a connection, `RequestInvalid` if it is larger than `max_payload`.
        """
        client = self._client
        if not client.is_connected or self._closing:
            raise disconnected(self.settings.shown)
        if client.publish_now(subject, payload, reply, headers):
            return
        self._check_size(subject, payload, headers)
        task = asyncio.current_task()
        cancels = task.cancelling() if task is not None else 0
        try:
            await client.publish(subject, payload, reply=reply, headers=headers)  # type: ignore[arg-type]
        except (nats.errors.Error, OSError, UnicodeEncodeError, ValueError) as error:
            raise translate(error, subject) from error
        # nats-py swallows a cancellation that arrives while it waits for its buffer to drain.
        if task is not None and task.cancelling() > cancels:
            raise asyncio.CancelledError

    def publish_now(self, subject: str, payload: bytes, *, reply: str, headers: Mapping[str, str] | None) -> bool:
        """As `publish`, if that takes no waiting and nothing is wrong; else False, and nothing was done."""
        return not self._closing and self._client.publish_now(subject, payload, reply, headers)

    async def request(
        self, subject: str, payload: bytes = b"", *, deadline: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """The first answer. `deadline` is on the event loop's clock.

        Raises `Unavailable` (nobody there; no connection; with `maybe_executed` if it was lost meanwhile),
        `DeadlineExceeded`, `RequestInvalid`.
        """
        loop = asyncio.get_running_loop()
        if deadline <= loop.time():
            raise DeadlineExceeded(f"The deadline passed before {subject} was asked.", subject=subject, started=False)
        token = str(next(self._numbers))
        future: asyncio.Future[Message | TrellisError] = loop.create_future()
        self._waiting[token] = (subject, future)
        timer = loop.call_at(deadline, _expire, future, subject)
        try:
            await self.publish(subject, payload, reply=self._prefix + token, headers=headers)
            answer = await future
        finally:
            timer.cancel()
            del self._waiting[token]
        if isinstance(answer, TrellisError):
            raise answer
        if not answer.data and answer.headers is not None and answer.headers.get("Status") == "503":
            raise no_answerer(subject)
        return answer

    async def gather(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        deadline: float,
        enough: Callable[[Sequence[Message]], bool] = lambda answers: False,
        quiet: float | None = None,
        limit: int = 10_000,
    ) -> list[Message]:
        """All answers until the deadline, `enough(answers)`, `limit` of them, or `quiet` seconds without another.

        No answer is an empty list, at once if nobody listens.
        """
        return await gather(self, subject, payload, deadline=deadline, enough=enough, quiet=quiet, limit=limit)

    def inbox(self, callback: Callback) -> Inbox:
        """A fresh subject whose messages go to `callback`, until the inbox is closed."""
        token = f"i{next(self._numbers)}"
        self._inboxes[token] = callback
        return Inbox(self, token, self._prefix + token)

    def fresh_subject(self) -> str:
        """A subject that nobody else has; to be subscribed to."""
        return f"_INBOX.{NUID().next().decode()}"

    def publish_soon(self, subject: str, payload: bytes = b"") -> None:
        """As `publish`, for callbacks: a failure is dropped, as the message would be."""

        async def send() -> None:
            try:
                await self.publish(subject, payload)
            except TrellisError as error:
                _log.debug("Not sent to %s: %s", subject, error)

        self._spawn(send())

    async def subscribe(self, subject: str, callback: Callback, *, queue: str = "") -> Subscription:
        """Calls `callback` for every message on `subject`, also after reconnecting.

        Members of a `queue` share the messages. May be called without a connection. A callback that raises is
        logged; it costs that message alone.
        """
        subscription = Subscription(self, subject, queue, callback)
        self._subscriptions[subscription] = None
        try:
            await self._resubscribe(subscription)
        except BaseException:
            self._subscriptions.pop(subscription, None)
            raise
        return subscription

    async def flush(self, *, deadline: float) -> None:
        """Returns when the server has processed everything sent so far, subscriptions included."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Message | TrellisError] = loop.create_future()
        token = str(next(self._numbers))
        self._waiting[token] = ("", arrived)
        timer = loop.call_at(deadline, _expire, arrived, "the NATS server")
        try:
            # A message to ourselves. The client's own flush breaks its read loop if it is cancelled.
            await self.publish(self._prefix + token, b"-")
            answer = await arrived
        finally:
            timer.cancel()
            del self._waiting[token]
        if isinstance(answer, TrellisError):
            raise answer

    def _check_size(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        """The server closes a connection that sends too much; nats-py does not count headers."""
        size = len(payload)
        if headers:
            size += _HEADER_OVERHEAD + sum(len(k) + len(v.encode()) + 4 for k, v in headers.items())
        if size > self.max_payload:
            raise RequestInvalid(
                f"A message of {size} bytes for {subject} is larger than NATS accepts ({self.max_payload} bytes).",
                remedy="Send less, or raise max_payload of the NATS server.",
                size=size,
                limit=self.max_payload,
                reason=TOO_LARGE,
            )

    # What nats-py tells us

    def _on_reply(self, message: Message) -> None:
        token = message.subject[len(self._prefix) :]
        waiting = self._waiting.get(token)
        if waiting is not None:
            if not waiting[1].done():
                waiting[1].set_result(message)
        elif (callback := self._inboxes.get(token)) is not None:
            callback(message)

    def _on_lost(self) -> None:
        # What was not sent yet must not be sent later: its callers are told now that it failed.
        self._client.drop_unsent()
        self._fail_waiting()
        self._notify(False)

    def _fail_waiting(self) -> None:
        for _, future in self._waiting.values():
            if not future.done():
                future.set_result(disconnected(self.settings.shown, maybe_executed=True))

    def _notify(self, connected: bool) -> None:
        for listener in list(self._listeners):
            try:
                listener(connected)
            except Exception:
                _log.exception("A listener to the connection's state failed")

    # Making the connection, again and again

    def client_failed(self, client: DirectClient, error: Exception) -> None:
        if client is self._client and not self._closing:
            _log.warning("NATS: %s", translate(error, self.settings.shown).message)

    def client_lost(self, client: DirectClient) -> None:
        if client is self._client and not self._closing:
            _log.warning("The connection to NATS (%s) is lost", self.settings.shown)
            self._on_lost()

    def client_returned(self, client: DirectClient) -> None:
        if client is self._client and not self._closing:
            _log.info("The connection to NATS (%s) is back", self.settings.shown)
            self._notify(True)

    def client_closed(self, client: DirectClient) -> None:
        if client is self._client and not self._closing:
            self._on_lost()
            self._spawn(self._revive())

    def client_refused(self, client: DirectClient, what: str, subject: str) -> None:
        """Whoever waits for an answer to a message that was not passed on is told; a subscription stays silent."""
        asked = [(full, future) for full, future in self._waiting.values() if full.casefold() == subject.casefold()]
        known = [full for full, _ in asked] + [subscription.subject for subscription in self._subscriptions]
        # The server's words reach us in lower case.
        full = next((name for name in known if name.casefold() == subject.casefold()), subject)
        denial = not_permitted(what, full)
        if what == "publish":
            for _, future in asked:
                if not future.done():
                    future.set_result(denial)
        if self.refusals.add(what, full):
            _log.warning("%s", denial)

    async def _revive(self) -> None:
        """After the server closed the connection for good (it does so after some errors): start anew."""
        for attempt in count():
            await asyncio.sleep(reconnect_delay(attempt, random()))
            try:
                deadline = asyncio.get_running_loop().time() + FLUSH_TIMEOUT
                self._client = await dial(self.settings, self, deadline=deadline, patient=False)
                for subscription in list(self._subscriptions):
                    await self._resubscribe(subscription)
            except TrellisError as error:
                _log.warning("%s", error.message)
            else:
                self._notify(True)
                return

    async def _resubscribe(self, subscription: Subscription) -> None:
        try:
            subscription._raw = raw = await self._client.subscribe(
                subscription.subject,
                queue=subscription.queue,
                cb=subscription._deliver,
                pending_msgs_limit=subscription.max_messages,
                pending_bytes_limit=subscription.max_bytes,
            )
            self._client.deliver_to(raw, subscription._deliver_now)
        except (nats.errors.Error, OSError) as error:
            raise translate(error, subscription.subject) from error

    async def _unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)
        raw, subscription._raw = subscription._raw, None
        if raw is not None and not self._closing:
            self._client.forget(raw)
            try:
                await raw.unsubscribe()
            except (nats.errors.Error, OSError) as error:
                _log.debug("Unsubscribing from %s: %s", subscription.subject, error)

    async def _drain(self, subscription: Subscription, deadline: float) -> None:
        self._subscriptions.pop(subscription, None)
        raw = subscription._raw
        if raw is not None and self._client.is_connected and not self._closing:
            try:
                await self._client.unsubscribe_only(raw)
                # The server answers in order: whatever it sent before is here when our own message is.
                await self.flush(deadline=deadline)
                async with asyncio.timeout_at(deadline):
                    await raw._pending_queue.join()
            except (nats.errors.Error, OSError, TimeoutError, TrellisError) as error:
                _log.debug("Draining %s: %s", subscription.subject, error)
        await self._unsubscribe(subscription)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _expire(future: asyncio.Future[Message | TrellisError], subject: str) -> None:
    if not future.done():
        future.set_result(DeadlineExceeded(f"No answer from {subject} before the deadline.", subject=subject))
