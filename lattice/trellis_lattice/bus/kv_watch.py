"""A watch on a bucket in JetStream that is right again after every interruption.

An ephemeral push consumer delivers the newest message of every key, then every new one. A gap in its
numbering, silence, or a new connection makes it start over, and only what differs from what was reported
before is reported. The bookkeeping (`WatchState`) is pure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from trellis_lattice.bus.backoff import reconnect_delay
from trellis_lattice.bus.connection import Message, Subscription
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv import Change
from trellis_lattice.errors import DeadlineExceeded, TrellisError
from trellis_lattice.subjects import kv_stream, parse_kv

__all__ = ["JetStreamWatch", "WatchState", "is_removal", "parse_delivery", "parse_headers"]

_log = logging.getLogger("trellis.bus")

_HEARTBEAT = 2.0
"""Seconds between signs of life of an idle consumer (about 150 bytes each); when two and a half are missing its server
is taken for dead and the watch starts over."""
_START_TIMEOUT = 5.0
_INACTIVE = 10.0
"""Seconds after which the server removes a consumer that nobody listens to."""


def is_removal(headers: Mapping[str, str]) -> bool:
    """Whether a message's headers say that its key is gone (by a client, or by the server when it expired)."""
    return headers.get("KV-Operation") in ("DEL", "PURGE") or "Nats-Marker-Reason" in headers


def parse_headers(raw: bytes) -> dict[str, str]:
    """Headers as the JetStream API stores them: `NATS/1.0`, then `name: value` lines."""
    headers: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").split("\r\n")[1:]:
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip()] = value.strip()
    return headers


def parse_delivery(reply: str) -> tuple[int, int, int] | None:
    """(revision, number in the consumer, how many follow) from the reply subject of a delivered message.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<revision>.<number>.<time>.<pending>`, newer servers put domain and
    account before the stream and a random token at the end.
    """
    tokens = reply.split(".")
    if len(tokens) < 9 or tokens[:2] != ["$JS", "ACK"]:
        return None
    fields = tokens[4:9] if len(tokens) == 9 else tokens[6:11]
    if len(fields) != 5 or not all(field.isdigit() for field in fields):
        return None
    _, revision, number, _, pending = (int(field) for field in fields)
    return revision, number, pending


class WatchState:
    """What has been reported, and what the present run of the consumer has shown so far. Pure."""

    def __init__(self) -> None:
        self._reported: dict[str, int] = {}
        self._seen: set[str] = set()
        self.received = 0
        """Number of the last message of the present consumer."""
        self.synced = False

    def restart(self) -> None:
        """A new consumer begins with everything."""
        self._seen = set()
        self.received = 0
        self.synced = False

    def renumber(self) -> None:
        """The bucket is another one than before: its revisions say nothing about those that were reported."""
        self._reported = dict.fromkeys(self._reported, 0)

    def is_next(self, number: int) -> bool:
        """Whether this message follows the last; else something was lost."""
        return number == self.received + 1

    def receive(self, number: int, key: str, value: bytes | None, revision: int) -> Change | None:
        """What to report of the next message, if it is news."""
        self.received = number
        if not self.synced:
            self._seen.add(key)
        if value is None:
            known = self._reported.pop(key, None)
            return Change(key, None, revision) if known is not None else None
        if self._reported.get(key, 0) >= revision:
            return None
        self._reported[key] = revision
        return Change(key, value, revision)

    def complete(self) -> list[Change]:
        """Everything there is has been received: what was reported before and is not there any more is gone."""
        gone = [key for key in self._reported if key not in self._seen]
        for key in gone:
            del self._reported[key]
        self._seen = set()
        self.synced = True
        return [Change(key, None, 0) for key in gone]


class JetStreamWatch:
    """Made by `start`; reports until `aclose`."""

    def __init__(
        self,
        jetstream: JetStream,
        bucket: str,
        on_change: Callable[[Change], None],
        only: bool,
        born: str,
        identify: Callable[[float], Awaitable[str]] | None,
    ) -> None:
        self._jetstream = jetstream
        self._bucket = bucket
        self._on_change = on_change
        self._headers_only = only
        self._born = born
        self._identify = identify
        self._state = WatchState()
        self._subscription: Subscription | None = None
        self._synced = asyncio.Event()
        self._again = asyncio.Event()
        self._alive_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._forget = jetstream.connection.listen(self._connection_changed)

    @classmethod
    async def start(
        cls,
        jetstream: JetStream,
        bucket: str,
        on_change: Callable[[Change], None],
        *,
        deadline: float,
        headers_only: bool = False,
        born: str = "",
        identify: Callable[[float], Awaitable[str]] | None = None,
    ) -> JetStreamWatch:
        """Raises what keeps the first consumer from being made; later ones are tried until they can.

        `born`: which bucket of that name this is; `identify(deadline)` tells that anew after an interruption.
        """
        self = cls(jetstream, bucket, on_change, headers_only, born, identify)
        try:
            await self._begin(deadline)
        except BaseException:
            await self.aclose()
            raise
        self._task = asyncio.create_task(self._keep(), name=f"watch {bucket}")
        return self

    async def synced(self, *, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._synced.wait()
        except TimeoutError:
            raise DeadlineExceeded(f"{self._bucket} was not read completely before the deadline.") from None

    async def aclose(self) -> None:
        self._forget()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._drop()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            wait = 3 * _HEARTBEAT if failures == 0 else reconnect_delay(failures, 0.5)
            try:
                async with asyncio.timeout(wait):
                    await self._again.wait()
            except TimeoutError:
                if failures == 0 and loop.time() - self._alive_at < 2.5 * _HEARTBEAT:
                    continue
            try:
                await self._begin_again(loop.time() + _START_TIMEOUT)
                failures = 0
            except TrellisError as error:
                failures += 1
                _log.debug("The watch on %s cannot start over: %s", self._bucket, error)
            except Exception:
                failures += 1
                _log.exception("The watch on %s cannot start over", self._bucket)

    async def _begin_again(self, deadline: float) -> None:
        if self._identify is not None:
            born = await self._identify(deadline)
            if born != self._born:
                self._born = born
                self._state.renumber()
        await self._begin(deadline)

    async def _begin(self, deadline: float) -> None:
        """Starts over with a new consumer, on a subject of its own so that nothing of the old one is taken for it."""
        self._again.clear()
        self._synced.clear()
        await self._drop()
        self._state.restart()
        connection = self._jetstream.connection
        subject = connection.fresh_subject()
        self._subscription = await connection.subscribe(subject, self._receive)
        # It has a name, so that one that was made without our knowing (its answer was lost) is not made again.
        name = subject.rpartition(".")[2]
        answer = await self._jetstream.call(
            f"CONSUMER.CREATE.{kv_stream(self._bucket)}.{name}",
            {
                "stream_name": kv_stream(self._bucket),
                "config": {
                    "name": name,
                    "inactive_threshold": int(_INACTIVE * 1e9),
                    "deliver_subject": subject,
                    "deliver_policy": "last_per_subject",
                    "filter_subject": f"$KV.{self._bucket}.>",
                    "ack_policy": "none",
                    "replay_policy": "instant",
                    "max_deliver": 1,
                    "flow_control": True,
                    "idle_heartbeat": int(_HEARTBEAT * 1e9),
                    "headers_only": self._headers_only,
                    "mem_storage": True,
                    "num_replicas": 1,
                },
            },
            deadline=deadline,
        )
        self._alive_at = asyncio.get_running_loop().time()
        delivered = answer.get("delivered", {}).get("consumer_seq", 0)
        if answer.get("num_pending", 0) == 0 and delivered == 0 and not self._state.synced:
            self._complete()

    async def _drop(self) -> None:
        """The server removes a consumer that nobody listens to."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    def _receive(self, message: Message) -> None:
        self._alive_at = asyncio.get_running_loop().time()
        headers = message.headers or {}
        if headers.get("Status") == "100":
            self._control(message, headers)
            return
        delivery, address = parse_delivery(message.reply), parse_kv(message.subject)
        if delivery is None or address is None:
            return
        revision, number, pending = delivery
        if not self._state.is_next(number):
            self._again.set()
            return
        value = None if is_removal(headers) else message.data
        change = self._state.receive(number, address[1], value, revision)
        if change is not None:
            self._report(change)
        if pending == 0 and not self._state.synced:
            self._complete()

    def _control(self, message: Message, headers: Mapping[str, str]) -> None:
        """A heartbeat (did we get all?) or a question whether we keep up (answered: yes)."""
        answer_to = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if answer_to:
            self._jetstream.connection.publish_soon(answer_to)
        last = headers.get("Nats-Last-Consumer", "")
        if last.isdigit() and int(last) != self._state.received:
            self._again.set()

    def _complete(self) -> None:
        for change in self._state.complete():
            self._report(change)
        self._synced.set()

    def _report(self, change: Change) -> None:
        try:
            self._on_change(change)
        except Exception:
            _log.exception("A watcher of %s failed on %s", self._bucket, change.key)

    def _connection_changed(self, connected: bool) -> None:
        self._synced.clear()
        if connected:
            self._again.set()
