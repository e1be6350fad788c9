"""Liveness: every host says each second that it lives, and when it is asked; everyone may listen.

The rules are in `membership`. A question goes to one host on its own subject: if nobody listens there, NATS says so
at once, and the host is gone without any waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        # Whoever hears nothing of us because the connection was away is to hear at once that it is back.
        self._forget = self._connection.listen(lambda connected: self._changed.set() if connected else None)
        self._task = asyncio.create_task(self._run(), name="beats")

    def changed(self) -> None:
        """The status changed: the next beat goes out at once."""
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
            await asyncio.sleep(max(0.0, sent + _SHORTEST - loop.time()))

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
        try:
            await self._connection.publish(self._subject, self._beat(leaving=leaving).encode())
        except TrellisError as error:
            _log.debug("A beat was not sent: %s", error)

    def _beat(self, *, leaving: bool = False) -> Beat:
        try:
            status = self._status()
        except Exception:
            # Silence would tell the lattice that this host is dead.
            _log.exception("The status of this host cannot be told; its beat says nothing of it")
            status = HostStatus()
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
        self._subject = subjects.beats(lattice)
        self._on_change = on_change
        self._probing = probing
        self._expected = expected
        self._probes: set[asyncio.Task[None]] = set()
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
            beat = Beat.decode(answer.data)
            if beat is not None and beat.host == probe.host:
                self._report(self.membership.hear(beat, loop.time()))

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
