"""Liveness: every host says each second that it lives, and when it is asked; everyone may listen.

The rules are in `membership`. A question goes to one host on its own subject: if nobody listens there, NATS says so
at once, and the host is gone without any waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar
from weakref import WeakKeyDictionary

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.bus.membership import Beat, Change, Membership, Probe, Timing
from trellis_lattice.errors import DeadlineExceeded, TrellisError, Unavailable

__all__ = ["BeatPublisher", "HostStatus", "MembershipWatcher"]

_log = logging.getLogger("trellis.bus")

INTERVAL = 1.0
"""Seconds between two beats."""
_SHORTEST = 0.05
"""Seconds between two beats at least, however fast things change."""
_SETTLING = 0.5
"""Seconds from one beat to the next that only says that the host runs something else: every host hears each of them,
so in a large lattice that is being filled they would cost more than the work. Who needs to know earlier has events."""
_MAX_SUBJECTS = 10_000


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What changes from beat to beat."""

    revision: int = 0
    load: float = 0.0
    draining: bool = False
    memory: float = 0.0


class BeatPublisher:
    """Publishes the beats of one host from `start` until `aclose`, which says goodbye; answers who asks for one."""

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
        self._asked_at = subjects.probe(lattice, host_id)
        self._questions: Subscription | None = None
        self._forget: Callable[[], None] = lambda: None
        self._host_id = host_id
        self._boot = boot
        self._status = status
        self._interval = interval
        self._sequence = 0
        self._told_draining = False
        self._returned = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        # Whoever hears nothing of us because the connection was away is to hear at once that it is back.
        self._forget = self._connection.listen(self._connection_changed)
        self._task = asyncio.create_task(self._run(), name="beats")

    def changed(self) -> None:
        """The status changed: the next beat goes out at once, or soon after the last one."""
        self._changed.set()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._returned = True
            self._changed.set()

    async def aclose(self) -> None:
        if self._task is None:
            return
        self._forget()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None
        await self._send(leaving=True)
        if self._questions is not None:
            await self._questions.unsubscribe()
            self._questions = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            await self._listen()
            await self._send()
            sent = loop.time()
            try:
                async with asyncio.timeout_at(sent + self._interval):
                    await self._changed.wait()
            except TimeoutError:
                continue
            await self._settle(sent)

    async def _settle(self, sent: float) -> None:
        """Several changes make one beat; that the host leaves, or is back, is told without delay."""
        calm = min(_SETTLING, self._interval)
        while True:
            urgent = self._returned or self._status_now().draining is not self._told_draining
            self._changed.clear()
            try:
                async with asyncio.timeout_at(sent + (_SHORTEST if urgent else calm)):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _listen(self) -> None:
        if self._questions is None:
            try:
                self._questions = await self._connection.subscribe(self._asked_at, self._answer)
            except TrellisError as error:
                _log.debug("Nobody can ask this host whether it lives: %s", error)

    def _answer(self, message: Message) -> None:
        if message.reply:
            self._connection.publish_soon(message.reply, self._beat().encode())

    async def _send(self, *, leaving: bool = False) -> None:
        beat = self._beat(leaving=leaving)
        self._told_draining, self._returned = beat.draining, False
        try:
            await self._connection.publish(self._subject, beat.encode())
        except TrellisError as error:
            _log.debug("A beat was not sent: %s", error)

    def _status_now(self) -> HostStatus:
        try:
            return self._status()
        except Exception:
            # Silence would tell the lattice that this host is dead.
            _log.exception("The status of this host cannot be told; its beat says nothing of it")
            return HostStatus()

    def _beat(self, *, leaving: bool = False) -> Beat:
        status = self._status_now()
        self._sequence += 1
        return Beat(
            self._host_id,
            self._boot,
            self._sequence,
            status.revision,
            status.load,
            status.draining,
            leaving,
            status.memory,
        )


class MembershipWatcher:
    """Keeps a `Membership` from `start` until `aclose` and reports its changes to a plain function.

    `probing(host)`: whether a suspect is to be asked; who has nothing to do with it waits for its silence to end.
    `expected()`: hosts that live, since they did something for us, whether or not they were heard.
    """

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        on_change: Callable[[Change], None],
        *,
        timing: Timing | None = None,
        interval: float = INTERVAL,
        probing: Callable[[str], bool] = lambda host: True,
        expected: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.membership = Membership(timing)
        self._connection = connection
        self._lattice = lattice
        self._on_change = on_change
        self._probing = probing
        self._expected = expected
        self._probes: set[asyncio.Task[None]] = set()
        self._interval = interval
        self._complete = asyncio.Event()
        self._ear: _Ear | None = None
        self._task: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] = lambda: None

    async def start(self) -> None:
        self._forget = self._connection.listen(self._connection_changed)
        self._ear = await _Ear.of(self._connection, self._lattice, self._hear)
        self._task = asyncio.create_task(self._run(), name="membership")

    async def complete(self, *, deadline: float) -> None:
        """Returns when every host that lives must have been heard once."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._complete.wait()
        except TimeoutError:
            raise DeadlineExceeded("The hosts of the lattice were not heard in time.") from None

    def doubt(self) -> None:
        """Something had nobody to answer it: a host may be gone. Those that are quiet are asked at once."""
        self._ask_all(self.membership.doubt(asyncio.get_running_loop().time()))

    async def aclose(self) -> None:
        self._forget()
        if self._task is not None:
            tasks = (self._task, *self._probes)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._task = None
        ear, self._ear = self._ear, None
        if ear is not None:
            await ear.release(self._hear)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        heard_since = loop.time()
        while True:
            await asyncio.sleep(self.membership.timing.tick)
            if not self._connection.connected:
                heard_since = loop.time()
            elif loop.time() - heard_since >= self._interval * 1.25:
                self._complete.set()
            now = loop.time()
            for host in self._expected():
                self.membership.expect(host, now)
            self._report(self.membership.tick(now))
            self._ask_all(self.membership.suspects(now, self._probing))

    def _ask_all(self, probes: list[Probe]) -> None:
        for probe in probes:
            task = asyncio.create_task(self._ask(probe), name=f"probe {probe.host}")
            self._probes.add(task)
            task.add_done_callback(self._probes.discard)

    async def _ask(self, probe: Probe) -> None:
        loop = asyncio.get_running_loop()
        try:
            answer = await self._connection.request(subjects.probe(self._lattice, probe.host), deadline=probe.until)
        except Unavailable as error:
            if error.fields.get("reason") == "no-answerer":
                self._report(self.membership.absent(probe, loop.time()))
        except DeadlineExceeded:
            # If we were held up ourselves the answer may lie in our socket: the next tick decides.
            if loop.time() < probe.until + self.membership.timing.tick:
                self._report(self.membership.unanswered(probe, loop.time()))
        except TrellisError as error:
            _log.debug("Host %s cannot be asked whether it lives: %s", probe.host, error)
        else:
            beat = Beat.decode(answer.data, probe.host)
            if beat is not None:
                self._report(self.membership.hear(beat, loop.time()))

    def _hear(self, beat: Beat, now: float) -> None:
        changes = self.membership.hear(beat, now)
        if changes:
            self._report(changes)

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


class _Ear:
    """The beats of one lattice, received and read once for all who listen over one connection."""

    _ears: ClassVar[WeakKeyDictionary[Connection, dict[str, _Ear]]] = WeakKeyDictionary()

    def __init__(self, connection: Connection, lattice: str) -> None:
        self._connection = connection
        self._lattice = lattice
        self._listeners: list[Callable[[Beat, float], None]] = []
        self._subscription: Subscription | None = None
        self._hosts: dict[str, str] = {}
        """The host whose beats come on a subject, as far as that was found out."""

    @classmethod
    async def of(cls, connection: Connection, lattice: str, listener: Callable[[Beat, float], None]) -> _Ear:
        """Calls `listener` for every beat until `release`."""
        ears = cls._ears.setdefault(connection, {})
        ear = ears.get(lattice)
        if ear is not None:
            ear._listeners.append(listener)
            return ear
        ear = ears[lattice] = cls(connection, lattice)
        ear._listeners.append(listener)
        try:
            ear._subscription = await connection.subscribe(subjects.beats(lattice), ear._receive)
        except BaseException:
            await ear.release(listener)
            raise
        if not ear._listeners:  # released meanwhile
            await ear._subscription.unsubscribe()
        return ear

    async def release(self, listener: Callable[[Beat, float], None]) -> None:
        """No further beat is told to `listener`."""
        self._listeners.remove(listener)
        if self._listeners:
            return
        ears = self._ears.get(self._connection, {})
        if ears.get(self._lattice) is self:
            del ears[self._lattice]
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    def _receive(self, message: Message) -> None:
        host = self._host(message.subject)
        beat = Beat.decode(message.data, host) if host is not None else None
        if beat is None:
            _log.debug("Not a beat: %s", message.subject)
            return
        now = asyncio.get_running_loop().time()
        for listener in tuple(self._listeners):
            listener(beat, now)

    def _host(self, subject: str) -> str | None:
        host = self._hosts.get(subject)
        if host is None and (address := subjects.parse_beat(subject)) is not None:
            host = address[1]
            if len(self._hosts) < _MAX_SUBJECTS:
                self._hosts[subject] = host
        return host
