"""Liveness: every host says each second that it lives, everyone may listen (the rules are in `membership`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.bus.membership import Beat, Change, Membership, Timing
from trellis_lattice.errors import DeadlineExceeded, TrellisError

__all__ = ["BeatPublisher", "HostStatus", "MembershipWatcher"]

_log = logging.getLogger("trellis.bus")

INTERVAL = 1.0
"""Seconds between two beats."""
_SHORTEST = 0.05
"""Seconds between two beats at least, however fast things change."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What changes from beat to beat."""

    revision: int = 0
    load: float = 0.0
    draining: bool = False
    memory: float = 0.0


class BeatPublisher:
    """Publishes the beats of one host from `start` until `aclose`, which says goodbye."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        host_id: str,
        boot: int,
        status: Callable[[], HostStatus],
        *,
        interval: float = INTERVAL,
    ) -> None:
        self._connection = connection
        self._subject = subjects.beat(lattice, host_id)
        self._host_id = host_id
        self._boot = boot
        self._status = status
        self._interval = interval
        self._sequence = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="beats")

    def changed(self) -> None:
        """The status changed: the next beat goes out at once."""
        self._changed.set()

    async def aclose(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        await self._send(leaving=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            await self._send()
            sent = loop.time()
            try:
                async with asyncio.timeout_at(sent + self._interval):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, sent + _SHORTEST - loop.time()))

    async def _send(self, *, leaving: bool = False) -> None:
        try:
            status = self._status()
        except Exception:
            # Silence would tell the lattice that this host is dead.
            _log.exception("The status of this host cannot be told; its beat says nothing of it")
            status = HostStatus()
        self._sequence += 1
        beat = Beat(
            self._host_id,
            self._boot,
            self._sequence,
            status.revision,
            status.load,
            status.draining,
            leaving,
            status.memory,
        )
        try:
            await self._connection.publish(self._subject, beat.encode())
        except TrellisError as error:
            _log.debug("A beat was not sent: %s", error)


class MembershipWatcher:
    """Keeps a `Membership` from `start` until `aclose` and reports its changes to a plain function."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        on_change: Callable[[Change], None],
        *,
        timing: Timing | None = None,
        interval: float = INTERVAL,
    ) -> None:
        self.membership = Membership(timing)
        self._connection = connection
        self._subject = subjects.beats(lattice)
        self._on_change = on_change
        self._interval = interval
        self._complete = asyncio.Event()
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] = lambda: None

    async def start(self) -> None:
        self._forget = self._connection.listen(self._connection_changed)
        self._subscription = await self._connection.subscribe(self._subject, self._receive)
        self._task = asyncio.create_task(self._run(), name="membership")

    async def complete(self, *, deadline: float) -> None:
        """Returns when every host that lives must have been heard once."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._complete.wait()
        except TimeoutError:
            raise DeadlineExceeded("The hosts of the lattice were not heard in time.") from None

    async def aclose(self) -> None:
        self._forget()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._subscription is not None:
            await self._subscription.unsubscribe()
            self._subscription = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        heard_since = loop.time()
        while True:
            await asyncio.sleep(self.membership.timing.tick)
            if not self._connection.connected:
                heard_since = loop.time()
            elif loop.time() - heard_since >= self._interval * 1.25:
                self._complete.set()
            self._report(self.membership.tick(loop.time()))

    def _receive(self, message: Message) -> None:
        beat = Beat.decode(message.data)
        address = subjects.parse_beat(message.subject)
        if beat is None or address is None or address[1] != beat.host:
            _log.debug("Not a beat: %s", message.subject)
            return
        self._report(self.membership.hear(beat, asyncio.get_running_loop().time()))

    def _connection_changed(self, connected: bool) -> None:
        now = asyncio.get_running_loop().time()
        if connected:
            self.membership.hearing(now)
        else:
            self.membership.deaf(now)

    def _report(self, changes: list[Change]) -> None:
        for change in changes:
            try:
                self._on_change(change)
            except Exception:
                _log.exception("A listener to the lattice's members failed on %s %s", change.host, change.kind.value)
