"""The shell of the reconciler's core: hears for it, does what it says, and tells it how that went.

It runs on every host, so that whichever gets the lease has a current picture; what only the leader may do is asked
of the lease once more at the last moment.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import assert_never

from trellis_lattice import subjects
from trellis_lattice.bus.beats import MembershipWatcher
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.bus.kv import Change
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.membership import Change as MemberChange
from trellis_lattice.client import LatticeClient
from trellis_lattice.config import decode_config
from trellis_lattice.errors import Conflict, DeadlineExceeded, PeerMisbehaved, TrellisError, Unavailable
from trellis_lattice.events import (
    ComponentScaled,
    ComponentScaleFailed,
    Event,
    HealthCheckFailed,
    HealthCheckPassed,
    HostStarted,
    HostStopped,
    LabelsChanged,
    LatticeEvent,
    ProviderStarted,
    ProviderStartFailed,
    ProviderStopped,
)
from trellis_lattice.events.feed import listen
from trellis_lattice.links import ComponentSpec, stored_spec
from trellis_wadm.actions import (
    Action,
    AskInventory,
    FindHosts,
    ReadLedger,
    SendCommand,
    Tell,
    TellStaying,
    WriteLedger,
)
from trellis_wadm.backoff import Policy
from trellis_wadm.board import StatusBoard, StatusTeller
from trellis_wadm.core import RETURN, TICK, Core
from trellis_wadm.executor import Executor
from trellis_wadm.ledger import Ledger, LedgerFile
from trellis_wadm.planner import Desired, Plan
from trellis_wadm.planner.result import Step
from trellis_wadm.store import BUCKET, ManifestMirror, announced_name
from trellis_wadm.wishes import Wishes

__all__ = ["RETURN", "TICK", "Leader"]

_log = logging.getLogger("trellis.wadm")

FIRST_PING = 0.2
"""Seconds that the hosts known from before have to answer."""
FIRST_QUIET = 0.06
"""Seconds without another answer after which all hosts are believed to be known."""
_OPEN_TIMEOUT = 5.0
_ASK_TIMEOUT = 1.0
_WRITE_TIMEOUT = 2.0
_TELL_AGAIN = 1.0
_ROLL_CALL = 60.0
"""Seconds between two questions of a leader who is there: a host without beats (a foreign one) that could not be
reached for a long time says nothing else that would be heard when it is back."""
_KEPT: tuple[type[Event], ...] = (HostStarted, HostStopped, ProviderStarted, HealthCheckFailed, HealthCheckPassed)
"""Rare ones; everyone hears them. Whatever else changes on a host is in its inventory, which its beats announce."""
_LED: tuple[type[Event], ...] = (
    ComponentScaled,
    ComponentScaleFailed,
    ProviderStartFailed,
    ProviderStopped,
    LabelsChanged,
)
"""What became of commands, and what hosts without beats say of themselves: only who leads hears them. Nobody needs
heartbeats, which carry whole inventories."""


class Leader:
    """One host's part in the reconciliation: `run` until it is cancelled."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        host_id: str,
        client: LatticeClient,
        policy: Policy,
        *,
        term: Callable[[], int | None],
        tick: float = TICK,
        trust_after: float = -math.inf,
    ) -> None:
        """`term` tells at every moment under which term this host holds the lease, if it does.

        Whoever makes this calls `lease_changed` when that may have changed.

        Until `trust_after` a host that does not answer may not have come back yet from an outage of NATS.
        """
        self._connection = connection
        self._lattice = lattice
        self._client = client
        self._term = term
        self._led: int | None = None
        """The term that the core was told of."""
        self._executor = Executor(client)
        self._mirror = ManifestMirror(lattice, self._application_changed)
        self._wishes = Wishes()
        # Every host listens, so that whoever leads next knows who lives; only the leader asks those who fall silent.
        self._members = MembershipWatcher(connection, lattice, self._on_member, probing=lambda host: self.leading)
        self._core = Core(
            host_id,
            self._desired,
            policy,
            tick=tick,
            members=self._members.membership.members,
            trust_after=trust_after,
        )
        self._board = StatusBoard(connection, lattice)
        self._plan: Plan | None = None
        self._plan_told = asyncio.Event()
        self._wake = asyncio.Event()
        self._led_events: list[Subscription] = []

    @property
    def leading(self) -> bool:
        """Whether this host leads at the moment."""
        return self._led is not None and self._led == self._term()

    @property
    def passes(self) -> int:
        """How many passes were made."""
        return self._core.passes

    def lease_changed(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Stands by or leads until cancelled. Raises what keeps it from beginning."""
        async with AsyncExitStack() as life:
            await self._listen(life)
            deadline = self._now() + _OPEN_TIMEOUT
            await self._read(life, deadline)
            trellis = await open_bucket(self._connection, subjects.trellis_bucket(self._lattice), deadline=deadline)
            self._ledger = LedgerFile(trellis)
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._tell(), name="statuses")
                tasks.create_task(self._call_the_roll(), name="roll call")
                while True:
                    await self._hear_as_befits()
                    self._turn()
                    await self._rest()

    async def _listen(self, life: AsyncExitStack) -> None:
        life.callback(self._connection.listen(self._connection_changed))
        manifests = await self._connection.subscribe(f"wadm.evt.{self._lattice}.*", self._on_manifest_event)
        life.push_async_callback(manifests.unsubscribe)
        for kept in _KEPT:
            events = await listen(self._connection, self._lattice, self._on_event, kind=kept.kind)
            life.push_async_callback(events.unsubscribe)
        life.push_async_callback(self._hear_no_more)
        life.push_async_callback(self._members.aclose)
        await self._members.start()

    async def _read(self, life: AsyncExitStack, deadline: float) -> None:
        """Reads everything there is, all at the same time: work may be waiting to be placed again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_applications(life, deadline), name="read applications")
            for name, on_change in (
                (subjects.lattice_bucket(self._lattice), self._on_component),
                (subjects.config_bucket(self._lattice), self._on_config),
            ):
                tasks.create_task(self._follow(name, on_change, life, deadline), name=f"read {name}")
            tasks.create_task(self._board.open(deadline=deadline), name="open statuses")

    async def _follow_applications(self, life: AsyncExitStack, deadline: float) -> None:
        bucket = await open_bucket(self._connection, BUCKET, deadline=deadline)
        life.push_async_callback(self._mirror.aclose)
        await self._mirror.start(bucket, deadline=deadline)

    async def _follow(
        self, name: str, on_change: Callable[[Change], None], life: AsyncExitStack, deadline: float
    ) -> None:
        bucket = await open_bucket(self._connection, name, deadline=deadline)
        watch = await bucket.watch(on_change, deadline=deadline)
        life.push_async_callback(watch.aclose)
        await watch.synced(deadline=deadline)

    # What is heard

    async def _hear_as_befits(self) -> None:
        """Before it sends its first command, a leader listens to what becomes of them."""
        while (self._term() is not None) is not bool(self._led_events):
            if self._led_events:
                await self._hear_no_more()
            else:
                for led in _LED:
                    self._led_events.append(
                        await listen(self._connection, self._lattice, self._on_event, kind=led.kind)
                    )

    async def _hear_no_more(self) -> None:
        while self._led_events:
            await self._led_events.pop().unsubscribe()

    async def _call_the_roll(self) -> None:
        while True:
            await asyncio.sleep(_ROLL_CALL)
            if self.leading and self._connection.connected:
                await self._find_hosts(frozenset())
                self._wake.set()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._core.connection_back(self._now())
        else:
            self._core.connection_lost()
        self._wake.set()

    def _application_changed(self, name: str) -> None:
        self._core.changed()
        self._wake.set()

    def _on_member(self, change: MemberChange) -> None:
        self._core.member(change, self._now())
        self._wake.set()

    def _on_manifest_event(self, message: Message) -> None:
        name = announced_name(message.data)
        if name is not None:
            self._core.announced(name)
            self._wake.set()

    def _on_event(self, event: LatticeEvent) -> None:
        self._core.event(event, self._now())
        self._wake.set()

    def _on_component(self, change: Change) -> None:
        kind, _, source = change.key.partition("_")
        if kind != "COMPONENT" or not source:
            return
        try:
            spec = stored_spec(change.value) if change.value is not None else ComponentSpec()
        except TrellisError as error:
            _log.warning("The links of %s cannot be read: %s", source, error)
            return
        self._core.picture.set_links(source, spec.links)
        self._wake.set()

    def _on_config(self, change: Change) -> None:
        try:
            values = decode_config(change.value, change.key) if change.value is not None else None
        except TrellisError as error:
            _log.warning("The config %s cannot be read: %s", change.key, error)
            return
        self._core.picture.set_config(change.key, values)
        self._wake.set()

    def _desired(self) -> Desired:
        return self._wishes.of(self._mirror.applications)

    # What is to be done

    def _turn(self) -> None:
        self._wake.clear()
        term = self._term()
        if term != self._led:
            self._led = term
            if term is None:
                self._core.lease_lost()
            else:
                self._core.lease_gained(self._now())
        for action in self._core.advance(self._now()):
            if isinstance(action, Tell):
                self._plan = action.plan
                self._plan_told.set()
            else:
                self._tasks.create_task(self._perform(action, term), name=type(action).__name__)

    async def _rest(self) -> None:
        """Until something was heard, or the core wants to go on."""
        try:
            async with asyncio.timeout_at(self._core.wake_at if self._core.wake_at < math.inf else None):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _perform(self, action: Action, term: int | None) -> None:
        match action:
            case SendCommand(step):
                await self._send(step, term)
            case AskInventory(host, covers):
                await self._ask(host, covers)
            case FindHosts(expect):
                await self._find_hosts(expect)
            case WriteLedger(ledger):
                await self._write(ledger)
            case ReadLedger():
                await self._read_ledger()
            case TellStaying(host, workloads):
                await self._tell_staying(host, workloads)
            case Tell():
                raise AssertionError("statuses have a task of their own")
            case _:
                assert_never(action)
        self._wake.set()

    async def _send(self, step: Step, term: int | None) -> None:
        failure: TrellisError | None = None
        try:
            if term is None or term != self._term():
                raise Unavailable("This host does not lead any more.", retry_after=1.0)
            await self._executor.send(step.command)
        except TrellisError as error:
            _log.warning("%s failed: %s", step.key, error)
            failure = error
        self._core.command_ended(step, failure, self._now())

    async def _ask(self, host: str, covers: int) -> None:
        try:
            inventory = await self._client.inventory(host, timeout=_ASK_TIMEOUT)
            if inventory.host_id != host:
                raise PeerMisbehaved(f"It is that of another host, {inventory.host_id}.", host=host)
        except (Unavailable, DeadlineExceeded) as error:
            absent = error.fields.get("reason") == "no-host" and self._connection.connected
            self._core.inventory_missing(host, covers, self._now(), absent=absent)
        except TrellisError as error:
            _log.warning("The inventory of host %s cannot be read: %s", host, error)
            self._core.inventory_unreadable(host, covers)
        else:
            self._core.inventory_came(inventory, covers, self._now())

    async def _tell_staying(self, host: str, workloads: frozenset[str]) -> None:
        try:
            await self._client.tell_staying(host, workloads, timeout=_ASK_TIMEOUT)
        except TrellisError as error:
            _log.debug("Host %s was not told what stays: %s", host, error)

    async def _find_hosts(self, expect: frozenset[str]) -> None:
        found: list[str] = []
        try:
            found = [info.id for info in await self._client.hosts(timeout=FIRST_PING, expect=expect, quiet=FIRST_QUIET)]
        except TrellisError as error:
            _log.debug("The hosts could not be asked for: %s", error)
        self._core.hosts_found(found, self._now())

    async def _read_ledger(self) -> None:
        try:
            ledger = await self._ledger.read(deadline=self._now() + _WRITE_TIMEOUT)
        except TrellisError as error:
            _log.warning("What earlier leaders noted cannot be read: %s", error)
            await asyncio.sleep(_TELL_AGAIN)
            self._core.ledger_failed(self._now())
        else:
            self._core.ledger_read(ledger, self._now())

    async def _write(self, ledger: Ledger) -> None:
        try:
            await self._ledger.write(ledger, deadline=self._now() + _WRITE_TIMEOUT)
        except TrellisError as error:
            _log.warning("What the scheduler is about to do could not be noted: %s", error)
            self._core.ledger_failed(self._now(), conflict=isinstance(error, Conflict))
        else:
            self._core.ledger_written(ledger, self._now())

    async def _tell(self) -> None:
        """Publishes statuses, the newest only."""
        epoch = time.time() - self._now()
        teller, led = StatusTeller(self._board, epoch), self._led
        while True:
            await self._plan_told.wait()
            self._plan_told.clear()
            if not self.leading or self._plan is None:
                continue
            if led != self._led:
                # Somebody else may have told other things meanwhile.
                teller, led = StatusTeller(self._board, epoch), self._led
            try:
                await teller.tell(self._plan, self._mirror.applications, deadline=self._now() + _WRITE_TIMEOUT)
            except TrellisError as error:
                _log.warning("Statuses could not be told: %s", error)
                await asyncio.sleep(_TELL_AGAIN)
                self._plan_told.set()
