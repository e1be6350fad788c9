"""The host's side: answers for what it remembers, and tells those who follow."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.follow.followers import MAX_BYTES, Batch, Filter, Followers
from trellis_lattice.follow.subjects import follow, recent

__all__ = ["FollowPoint", "serve_recent"]

_log = logging.getLogger("trellis.follow")

FLUSH = 0.1
"""Seconds that records wait for more: the rate of batches is bounded by it."""

F = TypeVar("F", bound=Filter[Any])


class FollowPoint(Generic[F]):
    """Tells records of one kind while somebody follows. `active` is cheap to look at."""

    def __init__(
        self, connection: Connection, lattice: str, host: str, kind: str, decode: Callable[[object], F]
    ) -> None:
        self.active = False
        """Whether anybody follows."""
        self.host = host
        self._connection = connection
        self._subject = follow(lattice, kind)
        self._decode = decode
        self._followers: Followers[F] = Followers()
        self._subscription: Subscription | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def wants(self) -> list[F]:
        return self._followers.wants

    async def start(self) -> None:
        self._subscription = await self._connection.subscribe(self._subject, self._on_lease)

    async def aclose(self) -> None:
        """Tells what it has, and no more."""
        self.active = False
        if self._flush is not None:
            self._flush.cancel()
            self._tell()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def offer(self, render: Callable[[F], dict[str, Any] | None]) -> None:
        """Something has happened; `render(wants)` gives its wire form, or None for those who do not want it."""
        if self._followers.offer(render) and self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(FLUSH, self._tell)

    def _tell(self) -> None:
        self._flush = None
        for batch in self._followers.take():
            self._connection.publish_soon(batch.to, batch.encode(self.host))

    def _on_lease(self, message: Message) -> None:
        if not message.reply:
            return
        try:
            wire = json.loads(message.data)
            lease = wire.get("lease", 0) if isinstance(wire, dict) else 0
            wants = self._decode(wire)
            if isinstance(lease, bool) or not isinstance(lease, int | float):
                raise RequestInvalid("`lease` is not a number of seconds.")
        except (ValueError, RecursionError, RequestInvalid) as error:
            self._connection.publish_soon(message.reply, _refusal(self.host, str(error)))
            return
        hosts: frozenset[str] = getattr(wants, "hosts", frozenset())
        if hosts and self.host not in hosts:
            return
        taken = self._followers.renew(message.reply, wants, lease, self._now())
        if not taken:
            self._connection.publish_soon(message.reply, _refusal(self.host, "Too many follow this host already."))
        elif wire.get("first"):
            self._connection.publish_soon(message.reply, Batch(message.reply, (), 0).encode(self.host))
        self._check()

    def _check(self) -> None:
        """Looks whether somebody still follows, and when to look again."""
        until = self._followers.expire(self._now())
        self.active = until is not None
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = None if until is None else asyncio.get_running_loop().call_at(until, self._check)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _refusal(host: str, reason: str) -> bytes:
    return json.dumps({"host": host, "error": reason, "records": [], "dropped": 0}).encode()


async def serve_recent(
    connection: Connection,
    lattice: str,
    host: str,
    kind: str,
    look_up: Callable[[object], tuple[list[dict[str, Any]], bool] | None],
) -> Subscription:
    """Answers for what this host remembers; end it with `unsubscribe`.

    `look_up(request)` gives the records, oldest first, and whether there were more; None: the question is not for
    this host. It raises `RequestInvalid` for a question that makes no sense.
    """

    def on_message(message: Message) -> None:
        if not message.reply:
            return
        try:
            found = look_up(json.loads(message.data or b"{}"))
        except (ValueError, RecursionError, RequestInvalid) as error:
            connection.publish_soon(message.reply, _refusal(host, str(error)))
            return
        records, more = found if found is not None else ([], False)
        connection.publish_soon(message.reply, _answer(host, records, more))

    return await connection.subscribe(recent(lattice, kind), on_message)


def _answer(host: str, records: list[dict[str, Any]], more: bool) -> bytes:
    """The newest records that fit into one message."""
    texts: list[str] = []
    size = 0
    for record in reversed(records):
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=str)
        size += len(text.encode("utf-8", "replace")) + 1
        if size > 2 * MAX_BYTES:
            more = True
            break
        texts.append(text)
    head = json.dumps({"host": host, "more": more})
    return f'{head[:-1]},"records":[{",".join(reversed(texts))}]}}'.encode("utf-8", "replace")
