"""The reconciler of one simulated host: the real core, membership and lease rules, and a shell without a loop.

What `trellis_wadm.leader` and `trellis_lattice.bus.lease` do with sockets and tasks, this does on the virtual clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

from trellis_lattice.bus.lease import TTL
from trellis_lattice.bus.lease_rules import LeaseRecord, LeaseRules, Look, Wait, Write
from trellis_lattice.bus.membership import Beat, Change, Membership, Probe
from trellis_lattice.control.host import HostInventory
from trellis_lattice.errors import DeadlineExceeded, TrellisError, Unavailable
from trellis_lattice.events import LatticeEvent
from trellis_sim.bus import ABSENT, LOST, Store
from trellis_sim.operations import Operations
from trellis_wadm import actions
from trellis_wadm.actions import Action, AskInventory, FindHosts, ReadLedger, SendCommand, Tell, WriteLedger
from trellis_wadm.core import Core
from trellis_wadm.ledger import Ledger
from trellis_wadm.planner import Desired, Plan
from trellis_wadm.planner.commands import StopProvider, describe
from trellis_wadm.planner.result import Step

if TYPE_CHECKING:
    from trellis_sim.process import Process

__all__ = ["LEASE", "Scheduler"]

LEASE = "lease"
_ASK_TIMEOUT = 1.0
_WRITE_TIMEOUT = 2.0
_COMMAND_TIMEOUT = 2.0
_STOP_TIMEOUT = 10.0
_PING = 0.2
_QUIET = 0.06
_AGAIN = 1.0
_READY_AFTER = 0.05
"""Seconds that a process needs to read what is stored before it schedules."""


class Scheduler:
    """Follows the lattice from `start`; leads while its process holds the lease."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._universe = process.universe
        self.membership = Membership()
        self.rules = LeaseRules(process.id, process.boot, TTL)
        self.core = Core(process.id, lambda: self._desired, members=self.membership.members)
        self._desired = Desired()
        self._operations = Operations(process)
        self._term: int | None = None
        self._ledger_revision = 0
        self._wake = math.inf
        self._lease_busy = False
        self._lease_timer = 0
        self._ready = False
        self._posted: dict[str, str] = {}
        self._plan = Plan()
        self._telling = False
        self._turning = False

    def start(self) -> None:
        self._process.after(self.membership.timing.tick, self._tick)
        self._process.after(_READY_AFTER, self._read)

    def _read(self) -> None:
        """Reads everything that is stored before it takes part."""
        process, store = self._process, self._universe.bus.store

        def begin(result: object) -> None:
            if result is LOST:
                self._read()
                return
            store.watch(process, "links", self._links_changed)
            store.watch(process, "configs", self._config_changed)
            store.watch(process, "desired", self._desired_changed)
            process.after(_READY_AFTER, self._begin)

        self._universe.bus.call_store(process, lambda: None, begin, _WRITE_TIMEOUT)

    def _begin(self) -> None:
        self._ready = True
        self._lease_turn()

    def give_up(self) -> None:
        """A clean stop: the lease is removed if it is ours."""
        self._ready = False
        record, store = self.rules.record, self._universe.bus.store

        def remove() -> object:
            value, revision = store.get(LEASE, LEASE)
            return store.put(LEASE, LEASE, None, revision) if value == record else None

        self._universe.bus.call_store(self._process, remove, lambda result: None, 1.0)
        self.rules.gave_up()

    def term(self) -> int | None:
        return self.rules.term if self._ready and self.rules.held(self._process.now()) else None

    # what is heard ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._process.now()
        if changes := self.membership.tick(now):
            self._members(changes)
        for probe in self.membership.suspects(now):
            self._probe(probe)
        self._process.after(self.membership.timing.tick, self._tick)

    def _probe(self, probe: Probe) -> None:
        def done(answer: object) -> None:
            now = self._process.now()
            if answer is ABSENT:
                self._members(self.membership.absent(probe, now))
            elif answer is LOST:
                self._members(self.membership.unanswered(probe, now))
            elif isinstance(answer, Beat):
                self._members(self.membership.hear(answer, now))

        def handle(node: Any, reply: Callable[[object], None]) -> None:
            reply(node.own_beat())

        seconds = max(0.0, probe.until - self._process.now())
        self._universe.bus.request(self._process, probe.host, handle, done, seconds)

    def beat(self, beat: Beat) -> None:
        if changes := self.membership.hear(beat, self._process.now()):
            self._members(changes)

    def _members(self, changes: list[Change]) -> None:
        for change in changes:
            self.core.member(change, self._process.now())
        if changes:
            self.turn()

    def event(self, event: LatticeEvent) -> None:
        self.core.event(event, self._process.now())
        self.turn()

    def announced(self, app: str) -> None:
        self.core.announced(app)
        self.turn()

    def connection_lost(self) -> None:
        self.membership.deaf(self._process.now())
        self.core.connection_lost()

    def connection_back(self) -> None:
        now = self._process.now()
        self.membership.hearing(now)
        self.core.connection_back(now)
        self.turn()

    def _links_changed(self, source: str, links: object) -> None:
        self.core.picture.set_links(source, links if isinstance(links, tuple) else ())
        self.turn()

    def _config_changed(self, name: str, values: object) -> None:
        self.core.picture.set_config(name, values if isinstance(values, dict) else None)
        self.turn()

    def _desired_changed(self, key: str, desired: object) -> None:
        if isinstance(desired, Desired):
            self._desired = desired
            self.core.changed()
            self.turn()

    # the lease ----------------------------------------------------------------------------------------

    def stirred(self) -> None:
        """Somebody writes the lease."""
        self.rules.stirred(self._process.now())
        self._lease_turn()

    def _lease_turn(self) -> None:
        if self._lease_busy or not self._ready:
            return
        now, bus = self._process.now(), self._universe.bus
        action = self.rules.next(now)
        self._lease_timer += 1
        match action:
            case Wait(until):
                self._process.at(until, self._lease_due, self._lease_timer)
            case Look():
                self._lease_busy = True
                bus.call_store(self._process, lambda: bus.store.get(LEASE, LEASE), self._looked, self.rules.period)
            case Write(expected):
                self._lease_busy = True
                bus.broadcast(self._process, _lease_stirred)
                bus.call_store(
                    self._process,
                    lambda: bus.store.put(LEASE, LEASE, self.rules.record, expected),
                    lambda result: self._wrote(result, now),
                    self.rules.period,
                )
            case _:
                assert_never(action)

    def _look_at_term(self) -> None:
        if self.term() != self._term:
            self.turn()

    def _lease_due(self, timer: int) -> None:
        self._look_at_term()
        if timer == self._lease_timer:
            self._lease_turn()

    def _looked(self, result: object) -> None:
        if isinstance(result, tuple):
            record, revision = result
            self.rules.saw(revision, record if isinstance(record, LeaseRecord) else None, self._process.now())
            self._lease_done()
        else:
            self._lease_failed()

    def _wrote(self, result: object, started: float) -> None:
        if isinstance(result, int):
            self.rules.wrote(result, started)
        elif result is Store.CONFLICT:
            self.rules.refused()
        else:
            self._lease_failed()
            return
        self._lease_done()

    def _lease_failed(self) -> None:
        self.rules.failed(self._process.now())
        self._look_at_term()
        self._process.after(self.rules.period / 2, self._lease_done)

    def _lease_done(self) -> None:
        self._lease_busy = False
        self._look_at_term()
        self._lease_turn()

    # what is to be done -------------------------------------------------------------------------------

    def turn(self) -> None:
        """Lets the core decide, and does what it says."""
        if self._turning:
            return
        self._turning = True
        now, universe = self._process.now(), self._universe
        term = self.term()
        if term != self._term:
            self._term = term
            if term is None:
                universe.trace.add(universe.clock.now, self._process.id, "leads no longer")
                self.core.lease_lost()
            else:
                universe.trace.add(universe.clock.now, self._process.id, "leads", f"term {term}")
                self._posted = {}
                self.core.lease_gained(now)
        actions = self.core.advance(now)
        self._turning = False
        for action in actions:
            self._perform(action, term)
        wake = self.core.wake_at
        if wake < math.inf and wake != self._wake:
            self._wake = wake
            self._process.at(wake, self._awake, wake)

    def _awake(self, wake: float) -> None:
        if wake == self._wake:
            self._wake = math.inf
            self.turn()

    def _perform(self, action: Action, term: int | None) -> None:
        match action:
            case SendCommand(step):
                self._send(step, term)
            case AskInventory(host, covers):
                self._ask(host, covers)
            case FindHosts(expect):
                self._find_hosts(expect)
            case ReadLedger():
                store = self._universe.bus.store
                get = lambda: store.get("ledger", "ledger")  # noqa: E731
                self._universe.bus.call_store(self._process, get, self._ledger_read, _WRITE_TIMEOUT)
            case WriteLedger(ledger):
                self._write(ledger)
            case Tell(plan):
                self._tell(plan)
            case actions.TellStaying():
                pass  # simulated hosts leave when their time is over
            case _:
                assert_never(action)

    def _send(self, step: Step, term: int | None) -> None:
        universe, command = self._universe, step.command

        def done(result: object) -> None:
            error: TrellisError | None = None
            if isinstance(result, TrellisError):
                error = result
            elif result is LOST:
                error = DeadlineExceeded("It did not answer.")
            elif result is ABSENT:
                error = Unavailable("It is not there.", reason="no-host")
            if error is not None:
                universe.trace.add(universe.clock.now, self._process.id, "failed to", f"{describe(command)}: {error}")
            self.core.command_ended(step, error, self._process.now())
            self.turn()

        if term is None or term != self.term():
            done(Unavailable("This host does not lead any more."))
            return
        universe.trace.add(universe.clock.now, self._process.id, "sends", describe(command))
        universe.commands[type(command).__name__] += 1
        universe.on_command(self._process, command)
        timeout = _STOP_TIMEOUT if isinstance(command, StopProvider) else _COMMAND_TIMEOUT
        self._operations.send(command, done, timeout)

    def _ask(self, host: str, covers: int) -> None:
        def done(answer: object) -> None:
            if isinstance(answer, HostInventory):
                self.core.inventory_came(answer, covers, self._process.now())
            else:
                self.core.inventory_missing(host, covers, self._process.now(), absent=answer is ABSENT)
            self.turn()

        def handle(node: Any, reply: Callable[[object], None]) -> None:
            reply(node.workloads.inventory())

        self._universe.bus.request(self._process, host, handle, done, _ASK_TIMEOUT)

    def _find_hosts(self, expect: frozenset[str]) -> None:
        bus = self._universe.bus
        found = [id for id, node in bus.nodes.items() if bus.reaches(self._process, node) and not bus.lost()]
        complete = 2 * bus.weather.delay if expect <= set(found) else _PING
        seconds = complete if expect else _QUIET

        def done() -> None:
            self.core.hosts_found(found, self._process.now())
            self.turn()

        self._process.after(seconds, done)

    def _ledger_read(self, result: object) -> None:
        if isinstance(result, tuple):
            ledger, self._ledger_revision = result
            self.core.ledger_read(ledger if isinstance(ledger, Ledger) else Ledger(), self._process.now())
        else:
            self._process.after(_AGAIN, self._ledger_failed, False)
        self.turn()

    def _ledger_failed(self, conflict: bool) -> None:
        self.core.ledger_failed(self._process.now(), conflict=conflict)
        self.turn()

    def _write(self, ledger: Ledger) -> None:
        store, expected = self._universe.bus.store, self._ledger_revision

        def done(result: object) -> None:
            if isinstance(result, int):
                self._ledger_revision = result
                self.core.ledger_written(ledger, self._process.now())
                self.turn()
            else:
                self._ledger_failed(result is Store.CONFLICT)

        write = lambda: store.put("ledger", "ledger", ledger, expected)  # noqa: E731
        self._universe.bus.call_store(self._process, write, done, _WRITE_TIMEOUT)

    def _tell(self, plan: Plan) -> None:
        """Statuses that differ from what this term told before; one message at a time, the newest plan next."""
        self._plan = plan
        if not self._telling:
            self._post()

    def _post(self) -> None:
        universe, term = self._universe, self._term
        new = {name: str(status.type) for name, status in self._plan.applications.items()}
        if new == self._posted or term is None:
            return

        def post() -> None:
            for name in sorted(universe.statuses.keys() | new.keys()):
                status = new.get(name, "undeployed")
                if universe.statuses.get(name) != status:
                    universe.trace.add(universe.clock.now, self._process.id, "tells", f"{name} is {status}")
                    universe.statuses[name] = status

        def done(result: object) -> None:
            self._telling = False
            if self._term == term:
                self._posted = {} if result is LOST else new
            if self._term is not None:
                self._post()

        self._telling = True
        universe.bus.call_store(self._process, post, done, _WRITE_TIMEOUT)


def _lease_stirred(node: Any) -> Callable[..., object]:
    stirred: Callable[..., object] = node.scheduler.stirred
    return stirred
