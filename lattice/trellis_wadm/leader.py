"""The reconciler at work: watches, plans, acts, tells. Only the holder of the lease runs one.

The laws of this file: whatever is heard only says that a new pass may be due; a pass looks at the whole picture
and is harmless if nothing changed; one pass at a time; no pass while NATS is away, since then nothing can be
told from absence.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping

from trellis_lattice import subjects
from trellis_lattice.bus.beats import MembershipWatcher
from trellis_lattice.bus.connection import Connection, Message
from trellis_lattice.bus.kv import Change, KeyValueBucket, Watch
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.membership import Change as MemberChange
from trellis_lattice.bus.membership import ChangeKind
from trellis_lattice.client import LatticeClient
from trellis_lattice.config import decode_config
from trellis_lattice.errors import (
    Conflict,
    DeadlineExceeded,
    Denied,
    NotFound,
    PeerMisbehaved,
    RequestInvalid,
    TrellisError,
    Unavailable,
)
from trellis_lattice.events import (
    ComponentScaleFailed,
    HealthCheckFailed,
    HealthCheckPassed,
    HealthCheckStatus,
    HostHeartbeat,
    HostStarted,
    HostStopped,
    LatticeEvent,
    ProviderStarted,
    ProviderStartFailed,
)
from trellis_lattice.events.envelope import Failure
from trellis_lattice.events.feed import listen
from trellis_lattice.links import ComponentSpec
from trellis_wadm.backoff import Policy
from trellis_wadm.board import StatusBoard, StatusTeller
from trellis_wadm.executor import Executor
from trellis_wadm.journal import Journal
from trellis_wadm.ledger import Ledger, LedgerFile
from trellis_wadm.picture import Picture
from trellis_wadm.planner import Desired, Observed, Owned, Plan, command_host, desired_of, plan
from trellis_wadm.planner.result import Step
from trellis_wadm.planner.world import SinceKey
from trellis_wadm.store import BUCKET, ManifestMirror, announced_name

__all__ = ["Leader"]

_log = logging.getLogger("trellis.wadm")

TICK = 5.0
"""Seconds after which a pass is made even if nothing was heard."""
DEBOUNCE = 0.02
"""Seconds to wait for more news before a pass."""
FIRST_PING = 0.2
"""Seconds that the hosts known from before have to answer when a leader begins."""
FIRST_QUIET = 0.06
"""Seconds without another answer after which the first leader of a lattice believes that it knows all hosts."""
RETURN = 2.5
"""Seconds that hosts have to come back after NATS was away."""
_OPEN_TIMEOUT = 5.0
_ASK_TIMEOUT = 1.0
_WRITE_TIMEOUT = 2.0


class Leader:
    """One term of leadership: `run` until it is cancelled."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        host_id: str,
        client: LatticeClient,
        policy: Policy,
        *,
        may_act: Callable[[], bool] = lambda: True,
        tick: float = TICK,
        trust_after: float = -math.inf,
    ) -> None:
        """`may_act` is asked before every command: whether nobody else leads by now.

        Until `trust_after` a host that does not answer may not have come back yet from an outage of NATS.
        """
        self._connection = connection
        self._lattice = lattice
        self._host_id = host_id
        self._client = client
        self._policy = policy
        self._tick = tick
        self._trust_after = trust_after
        self._journal = Journal(policy)
        self._executor = Executor(client, may_act)
        self._picture = Picture(self._wake_up)
        self._mirror = ManifestMirror(lattice, self._application_changed)
        self._ledger: LedgerFile | None = None
        self._owned = Owned()
        self._wake = asyncio.Event()
        self._since: Mapping[SinceKey, float] = {}
        self._teller = StatusTeller(StatusBoard(connection, lattice), time.time() - asyncio.get_running_loop().time())
        self._wake_at: float | None = None
        self._watches: list[Watch] = []
        self.passes = 0
        """How many passes were made; for tests and for `get`."""

    async def run(self) -> None:
        """Leads until cancelled. Raises what keeps it from beginning."""
        loop = asyncio.get_running_loop()
        subscriptions = [
            await self._connection.subscribe(f"wadm.evt.{self._lattice}.*", self._on_manifest_event),
            await listen(self._connection, self._lattice, self._on_event),
        ]
        members = MembershipWatcher(self._connection, self._lattice, self._on_member)
        forget = self._connection.listen(self._connection_changed)
        try:
            await members.start()
            await self._begin(loop.time() + _OPEN_TIMEOUT)
            while True:
                await self._pass()
                await self._rest()
        finally:
            forget()
            await members.aclose()
            await self._mirror.aclose()
            for watch in self._watches:
                await watch.aclose()
            for subscription in subscriptions:
                await subscription.unsubscribe()

    async def _begin(self, deadline: float) -> None:
        """Reads everything there is, all at the same time: work may be waiting to be placed again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(BUCKET, deadline), name="read applications")
            tasks.create_task(self._follow(subjects.lattice_bucket(self._lattice), deadline), name="read links")
            tasks.create_task(self._follow(subjects.config_bucket(self._lattice), deadline), name="read configs")
            tasks.create_task(self._teller.open(deadline=deadline), name="open statuses")
            tasks.create_task(self._meet_hosts(deadline), name="meet hosts")

    async def _follow(self, name: str, deadline: float) -> None:
        bucket = await open_bucket(self._connection, name, deadline=deadline)
        if name == BUCKET:
            await self._mirror.start(bucket, deadline=deadline)
            return
        links = name == subjects.lattice_bucket(self._lattice)
        watch = await bucket.watch(self._on_component if links else self._on_config, deadline=deadline)
        self._watches.append(watch)
        await watch.synced(deadline=deadline)

    async def _meet_hosts(self, deadline: float) -> None:
        """Asks who is there, until all hosts of before have answered; the first leader ever waits for all."""
        bucket: KeyValueBucket = await open_bucket(
            self._connection, subjects.trellis_bucket(self._lattice), deadline=deadline
        )
        self._ledger = LedgerFile(bucket)
        ledger = await self._ledger.read(deadline=deadline)
        self._owned = ledger.owned
        expect = {self._host_id, *ledger.hosts} if ledger.hosts else ()
        while True:
            for info in await self._client.hosts(timeout=FIRST_PING, expect=expect, quiet=FIRST_QUIET):
                self._picture.found_host(info.id, self._now())
            if self._now() >= self._trust_after or self._picture.hosts.keys() >= set(expect):
                break
        await self._ask_hosts()

    # What is heard

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._trust_after = self._now() + RETURN
            self._wake_up("the connection is back")

    def _wake_up(self, reason: str) -> None:
        _log.debug("A pass is due: %s", reason)
        self._wake.set()

    def _application_changed(self, name: str) -> None:
        self._wake_up(f"application {name} changed")

    def _on_member(self, change: MemberChange) -> None:
        """What the hosts' beats say."""
        now, host = self._now(), change.host
        if change.kind in (ChangeKind.GONE, ChangeKind.LEFT):
            self._picture.lost_host(host, now)
        elif change.kind is ChangeKind.SUSPECT:
            # A process that was killed has nobody listening: asking tells at once, waiting takes longer.
            self._picture.touch(host, f"host {host} is quiet")
        else:
            if change.kind is ChangeKind.RESTARTED:
                self._journal.forget_host(host)
            self._picture.saw_beat(host, change.beat.draining, now)

    def _on_manifest_event(self, message: Message) -> None:
        """Somebody deployed or undeployed: what failed before is tried anew."""
        name = announced_name(message.data)
        if name is not None:
            self._journal.forget_application(name)
            self._wake_up(f"application {name} was announced")

    def _on_event(self, event: LatticeEvent) -> None:
        now, data = self._now(), event.event
        if isinstance(data, HostStopped):
            self._picture.lost_host(event.source, now)
            return
        if isinstance(data, HostStarted):
            # Whatever was sent to the process that ran under this id before is void.
            self._journal.forget_host(event.source)
            self._picture.found_host(event.source, now)
        elif isinstance(data, HostHeartbeat):
            self._picture.found_host(event.source, now)
            return
        elif isinstance(data, HealthCheckFailed | HealthCheckPassed | HealthCheckStatus):
            # A status says that a check was made, not how it ended.
            if not isinstance(data, HealthCheckStatus):
                self._picture.saw_health(event.source, data.provider_id, isinstance(data, HealthCheckPassed))
            return
        elif isinstance(data, ProviderStarted):
            self._picture.saw_health(event.source, data.provider_id, True)
        elif isinstance(data, ComponentScaleFailed):
            self._journal.scale_failed(
                event.source, data.component_id, data.max_instances, data.error, now, final=_is_final(data)
            )
        elif isinstance(data, ProviderStartFailed):
            self._journal.start_failed(
                event.source, data.provider_id, data.provider_ref, data.error, now, final=_is_final(data)
            )
        self._picture.touch(event.source, f"{event.kind} from {event.source}")

    def _on_component(self, change: Change) -> None:
        kind, _, source = change.key.partition("_")
        if kind != "COMPONENT" or not source:
            return
        try:
            spec = ComponentSpec.from_json(change.value) if change.value is not None else ComponentSpec()
        except TrellisError as error:
            _log.warning("The links of %s cannot be read: %s", source, error)
            return
        self._picture.set_links(source, spec.links)

    def _on_config(self, change: Change) -> None:
        try:
            values = decode_config(change.value, change.key) if change.value is not None else None
        except TrellisError as error:
            _log.warning("The config %s cannot be read: %s", change.key, error)
            return
        self._picture.set_config(change.key, values)

    # Passes

    async def _rest(self) -> None:
        """Waits until there is a reason for another pass."""
        now = self._now()
        due = self._picture.next_check(min(now + self._tick, self._wake_at or now + self._tick))
        try:
            async with asyncio.timeout_at(max(due, now + DEBOUNCE)):
                await self._wake.wait()
            await asyncio.sleep(DEBOUNCE)
        except TimeoutError:
            pass

    async def _pass(self) -> None:
        """Looks, plans, acts and tells, once."""
        self._wake.clear()
        if not self._connection.connected:
            return
        try:
            await self._ask_hosts()
            found = self._plan()
            await self._remember(found)
            await self._executor.run(found, self._before, self._after)
            self._journal.keep_only(found.wanted, self._now())
            self._since, self._wake_at = found.since, found.wake_at
            await self._teller.tell(found, self._mirror.applications, deadline=self._now() + _WRITE_TIMEOUT)
            self.passes += 1
        except TrellisError as error:
            # What could not be done now is still to be done: the next pass sees it.
            _log.warning("A pass of the scheduler did not end well: %s", error)
            self._wake_at = self._now() + 1.0

    def _plan(self) -> Plan:
        hosts, links, configs = self._picture.world()
        observed = Observed(hosts, links, configs, self._owned, self._journal.attempts, self._since)
        return plan(self._desired(), observed, self._now(), self._policy)

    def _desired(self) -> Desired:
        applications = self._mirror.applications
        deployed = [manifest for app in applications.values() if (manifest := app.deployed) is not None]
        latest = {name: m for name, app in applications.items() if (m := app.manifest(app.latest)) is not None}
        return desired_of(deployed, latest)

    async def _ask_hosts(self) -> None:
        """Reads the inventories that may have changed, and finds out about hosts that have gone quiet."""
        now = self._now()
        self._picture.forget_old(now)
        async with asyncio.TaskGroup() as tasks:
            for id in self._picture.to_ask(now):
                tasks.create_task(self._ask_host(id), name=f"inventory of {id}")

    async def _ask_host(self, id: str) -> None:
        try:
            inventory = await self._client.inventory(id, timeout=_ASK_TIMEOUT)
        except (Unavailable, DeadlineExceeded) as error:
            now = self._now()
            if self._connection.connected and now >= self._trust_after:
                self._picture.no_answer(id, error.fields.get("reason") == "no-host", now)
        except (PeerMisbehaved, TrellisError) as error:
            _log.warning("The inventory of host %s cannot be read: %s", id, error)
        else:
            self._picture.saw_inventory(inventory, self._now())

    async def _remember(self, found: Plan) -> None:
        """Notes what will be made before it is made."""
        assert self._ledger is not None
        self._owned = found.owned
        live = frozenset(id for id, file in self._picture.hosts.items() if file.live)
        await self._ledger.write(Ledger(found.owned, live), deadline=self._now() + _WRITE_TIMEOUT)

    def _before(self, step: Step) -> None:
        self._journal.sent(step.command, step.app, self._now())

    def _after(self, step: Step, error: TrellisError | None) -> None:
        if error is not None:
            _log.warning("%s failed: %s", step.key, error)
            self._journal.failed(step.command, str(error), self._now(), final=isinstance(error, RequestInvalid))
            self._wake_up(f"{step.key} failed")
            host = command_host(step.command)
            if host is not None and isinstance(error, Unavailable | DeadlineExceeded | Conflict | NotFound):
                # It is not as we think it is: gone, or running something else.
                self._picture.touch(host, f"host {host} refused a command")


def _is_final(failure: Failure) -> bool:
    """Whether a start that failed would fail again. Not so for a file that is missing: it may still come."""
    error = failure.exception
    if isinstance(error, NotFound):  # an import that nobody provides, a provider that is not installed
        return not error.fields.keys().isdisjoint(("imports", "reference"))
    return isinstance(error, RequestInvalid | Denied)
