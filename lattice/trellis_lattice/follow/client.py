"""The asker's side: recent records of all hosts, and new ones as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from trellis_lattice.bus.connection import Connection, Message
from trellis_lattice.errors import PeerMisbehaved, TrellisError
from trellis_lattice.follow.followers import LEASE
from trellis_lattice.follow.subjects import follow, recent

__all__ = ["Feed", "Request", "Told", "follow_feed", "gather_recent"]

_MAX_WAITING = 256
"""Batches that wait for a slow reader; more are dropped and counted."""


class Request(Protocol):
    """What is wanted."""

    def to_wire(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What one host told at once. `records` are raw; `dropped`: how many it left out; `error`: why it refused."""

    host: str
    records: tuple[Mapping[str, Any], ...] = ()
    dropped: int = 0
    more: bool = False
    error: str = ""


async def gather_recent(
    connection: Connection,
    lattice: str,
    kind: str,
    request: Request | Mapping[str, Any],
    *,
    timeout: float,
    hosts: int | None,
) -> list[Told]:
    """What each host remembers. Waits `timeout` seconds, or until `hosts` of them have answered."""
    wire = request if isinstance(request, Mapping) else request.to_wire()
    answers = await connection.gather(
        recent(lattice, kind),
        json.dumps(wire).encode(),
        deadline=asyncio.get_running_loop().time() + timeout,
        enough=lambda answers: hosts is not None and len(answers) >= hosts,
        quiet=0.5,
    )
    return [_told(answer.data) for answer in answers]


class Feed:
    """Batches as they come; `wants` may be changed, and counts from the next renewal on."""

    def __init__(self, wants: Request) -> None:
        self.wants = wants
        self.lost = 0
        """Batches that came faster than they were read."""
        self._batches: asyncio.Queue[Told] = asyncio.Queue(_MAX_WAITING)

    async def next(self) -> Told:
        """The next batch. Raises `PeerMisbehaved` for one that cannot be read."""
        return await self._batches.get()

    def _on_message(self, message: Message) -> None:
        try:
            told = _told(message.data)
        except PeerMisbehaved as error:
            told = Told("", error=error.message)
        if self._batches.full():
            self.lost += 1
        else:
            self._batches.put_nowait(told)


@asynccontextmanager
async def follow_feed(
    connection: Connection,
    lattice: str,
    kind: str,
    wants: Request,
    *,
    lease: float = LEASE,
    renewed: Callable[[Feed], None] = lambda feed: None,
) -> AsyncIterator[Feed]:
    """Follows for the length of the block; `renewed(feed)` is called before each renewal and may change `wants`."""
    feed = Feed(wants)
    inbox = connection.inbox(feed._on_message)
    subject = follow(lattice, kind)

    async def say(seconds: float, *, first: bool = False) -> None:
        wire = {**feed.wants.to_wire(), "lease": seconds, "first": first}
        await connection.publish(subject, json.dumps(wire).encode(), reply=inbox.subject)

    async def keep() -> None:
        while True:
            await asyncio.sleep(lease / 3)
            renewed(feed)
            try:
                await say(lease)
            except TrellisError:
                continue  # without a connection; it is made again, and so is the lease

    await say(lease, first=True)
    keeping = asyncio.create_task(keep(), name="renew lease")
    try:
        yield feed
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        with suppress(TrellisError):  # without a connection the lease runs out by itself
            await say(0.0)
        inbox.close()


def _told(data: bytes) -> Told:
    try:
        wire = json.loads(data)
        records = wire["records"]
        host, dropped = wire["host"], wire.get("dropped", 0)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PeerMisbehaved("A host told something that is not JSON as it should be.") from None
    sound = isinstance(records, list) and all(isinstance(record, dict) for record in records)
    if not sound or not isinstance(host, str) or not isinstance(dropped, int):
        raise PeerMisbehaved("A host told something that is not a list of records.")
    return Told(host, tuple(records), dropped, wire.get("more") is True, str(wire.get("error", ""))[:1024])
