"""Holding a lease in a bucket: one host of a lattice does a job, another takes over when it dies.

lease = Lease(bucket, "lease.reconciler", host_id, boot, on_change=...)
lease.start()
if lease.held: ...
await lease.aclose()      # gives it up, so that another can have it at once
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trellis_lattice.bus.kv import KeyValueBucket
from trellis_lattice.bus.lease_rules import LeaseRecord, LeaseRules, Look, Wait, Write
from trellis_lattice.errors import Conflict, TrellisError

__all__ = ["Lease"]

_log = logging.getLogger("trellis.bus")

TTL = 1.5
"""Seconds after which a lease that was not renewed may be taken by another host."""


class Lease:
    """A candidate for one lease; `start` makes it try until `aclose`.

    `on_change(held)` is a plain function. A process with the same holder takes over at once: there is only one
    process of a host, and the old one is dead.
    """

    def __init__(
        self,
        bucket: KeyValueBucket,
        key: str,
        holder: str,
        boot: int,
        *,
        ttl: float = TTL,
        on_change: Callable[[bool], None] = lambda held: None,
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._rules = LeaseRules(holder, boot, ttl)
        self._on_change = on_change
        self._told = False
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether we hold it at this moment. Ask before every step that nobody else may take."""
        return self._rules.held(asyncio.get_running_loop().time())

    @property
    def term(self) -> int:
        """Grows with every change of holder: what is written under this lease can carry it as a fence."""
        return self._rules.term

    @property
    def owner(self) -> str | None:
        """Who was last seen holding it."""
        return self._rules.owner

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"lease {self._key}")

    def stirred(self, written: bytes) -> None:
        """Somebody writes that to the lease's key. To be called, where it can be heard, so that a lease that is given
        up is taken at once, one that is not renewed as early as it may be, and one that is renewed costs no reading."""
        self._rules.stirred(asyncio.get_running_loop().time(), LeaseRecord.decode(written))
        self._stirred.set()

    async def aclose(self, *, timeout: float = 1.0) -> None:
        """Stops trying, and gives the lease up if its record is ours, also if it has just run out."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        try:
            await self._remove(asyncio.get_running_loop().time() + timeout)
        except TrellisError as error:
            _log.debug("The lease %s was not given up: %s", self._key, error)
        self._rules.gave_up()
        self._tell()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._tell()
            now = loop.time()
            action = self._rules.next(now)
            if isinstance(action, Wait):
                await self._rest(action.until)
                continue
            try:
                await (self._look(now) if isinstance(action, Look) else self._write(action, now))
            except Conflict:
                self._rules.refused()
            except TrellisError as error:
                _log.debug("The lease %s: %s", self._key, error)
                self._rules.failed(loop.time())
                self._tell()
                await asyncio.sleep(self._rules.period / 2)

    async def _rest(self, until: float) -> None:
        """Until then, or until the key stirs."""
        self._stirred.clear()
        try:
            async with asyncio.timeout_at(until):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _look(self, now: float) -> None:
        entry = await self._bucket.get(self._key, deadline=now + self._rules.period)
        seen = asyncio.get_running_loop().time()
        if entry is None:
            self._rules.saw(0, None, seen)
        else:
            self._rules.saw(entry.revision, LeaseRecord.decode(entry.value), seen)

    async def _write(self, action: Write, now: float) -> None:
        revision = await self._bucket.put(
            self._key, self._rules.renewal().encode(), deadline=now + self._rules.period, expected=action.expected
        )
        self._rules.wrote(revision, now)

    async def _remove(self, deadline: float) -> None:
        # Read first: a renewal may have been under way when we stopped, so the revision we know may be old.
        entry = await self._bucket.get(self._key, deadline=deadline)
        if entry is not None and LeaseRecord.decode(entry.value) == self._rules.record:
            await self._bucket.delete(self._key, deadline=deadline, expected=entry.revision, purge=True)

    def _tell(self) -> None:
        held = self.held
        if held is not self._told:
            self._told = held
            try:
                self._on_change(held)
            except Exception:
                _log.exception("A listener to the lease %s failed", self._key)
