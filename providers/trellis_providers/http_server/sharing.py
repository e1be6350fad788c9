"""Tells the other hosts at one listening socket which routes this one has, and hears theirs.

The laws of this file: it decides nothing (`claims` does); what goes out is in order, the newest soon, a sign of
life each second; what was missed is asked for; without NATS a host goes on with what it knows.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence

from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import TrellisError
from trellis_lattice.invocation.subjects import routes, routes_get

from .announcements import MAX_ANNOUNCEMENT, decode, encode
from .claims import TICK, Announcement, Claim, Heard, Peers

__all__ = ["Sharing"]

_log = logging.getLogger("trellis.http-server")

_INTERVAL = 1.0
"""Seconds between two signs of life."""
_SHORTEST = 0.05
"""Seconds between two announcements at least, however fast routes change."""
_RESERVE = 32 * 1024
"""Bytes of an announcement for the names of the others."""
_PATIENCE = 0.5
"""Seconds that others have to say what they have."""


class Sharing:
    """One host at one socket, from `join` until `leave`. `changed` is called when others have changed theirs."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        listener: str,
        address: tuple[str, int],
        changed: Callable[[], None],
    ) -> None:
        self.peers = Peers()
        self._connection = connection
        self._subject = routes(lattice, listener)
        self._get = routes_get(lattice, listener)
        self._address = address
        self._changed = changed
        self._member = secrets.token_hex(8)
        self._revision = 0
        self._claims: tuple[Claim, ...] = ()
        self._news = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._asking: asyncio.Task[None] | None = None

    async def join(self) -> None:
        """Returns when all others that live have said what they have, or had their time to."""
        self._subscriptions.append(await self._connection.subscribe(self._subject, self._hear))
        await self._ask()
        self._subscriptions.append(await self._connection.subscribe(self._get, self._answer))
        self._tasks = [
            asyncio.create_task(self._announce(), name="announce-routes"),
            asyncio.create_task(self._watch(), name="watch-route-peers"),
        ]

    def check(self, claims: Iterable[Claim]) -> None:
        """Raises `RequestInvalid` if these are too many to announce."""
        limit = min(MAX_ANNOUNCEMENT, self._connection.max_payload) - _RESERVE
        encode(Announcement(self._member, self._revision + 1, tuple(claims)), limit)

    def claim(self, claims: Iterable[Claim]) -> None:
        """What this host has from now on."""
        self._claims = tuple(claims)
        self._revision += 1
        self._news.set()

    async def leave(self) -> None:
        """Says goodbye: others take over what was last claimed. Idempotent."""
        tasks, self._tasks = self._tasks, []
        if self._asking is not None:
            tasks.append(self._asking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._subscriptions:
            await self._send(self._said())
            await self._send(Announcement(self._member, self._revision + 1, leaving=True))
        while self._subscriptions:
            await self._subscriptions.pop().unsubscribe()

    def _said(self) -> Announcement:
        return Announcement(self._member, self._revision, self._claims, self.peers.members)

    async def _announce(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            news = self._news.is_set()
            self._news.clear()
            await self._send(self._said() if news else Announcement(self._member, self._revision))
            sent = loop.time()
            try:
                async with asyncio.timeout_at(sent + _INTERVAL):
                    await self._news.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, sent + _SHORTEST - loop.time()))

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK)
            # Without a connection nobody can be heard; the peers learn from the next tick how long that was.
            if self._connection.connected and self.peers.tick(loop.time()):
                self._changed()

    async def _send(self, said: Announcement) -> None:
        try:
            await self._connection.publish(self._subject, encode(said))
        except TrellisError as error:
            _log.debug("Routes were not announced: %s", error)

    def _hear(self, message: Message) -> None:
        said = decode(message.data, self._address)
        if said is None or said.member == self._member:
            return
        heard = self.peers.hear(said, asyncio.get_running_loop().time())
        if heard is Heard.CHANGED:
            self._changed()
        elif heard is Heard.ASK and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask(), name="ask-for-routes")

    def _answer(self, message: Message) -> None:
        if message.reply:
            self._connection.publish_soon(message.reply, encode(self._said()))

    async def _ask(self) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        try:
            answers = await self._connection.gather(self._get, deadline=deadline, enough=self._complete)
        except TrellisError as error:
            _log.debug("Routes of other hosts are not known: %s", error)
            return
        for answer in answers:
            self._hear(answer)

    def _complete(self, answers: Sequence[Message]) -> bool:
        """Whether everybody whom those who answered know has answered."""
        said = [each for each in (decode(answer.data, self._address) for answer in answers) if each is not None]
        told = {self._member, *(each.member for each in said)}
        return all(told.issuperset(each.peers) for each in said)
