"""The reconciler as a synchronous machine: what is heard goes in, what is to be done comes out. Pure.

    core.member(change, now); core.inventory_came(inventory, covers, now); …
    for action in core.advance(now): …          # after every input, and at `core.wake_at`

The laws of this file: every host keeps the picture current, so that whoever gets the lease can plan at once, but
only its holder plans and acts; whatever is heard only says that a pass may be due; a pass looks at the whole
picture and is harmless if nothing changed; one pass at a time; no pass while NATS is away, since then nothing can
be told from absence; whoever does not answer is waited for within bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum

from trellis_lattice.bus.membership import Change, ChangeKind, Member
from trellis_lattice.control.host import HostInventory
from trellis_lattice.errors import Conflict, DeadlineExceeded, NotFound, RequestInvalid, TrellisError, Unavailable
from trellis_lattice.events import HostStarted, LatticeEvent
from trellis_wadm import news
from trellis_wadm.actions import Action, FindHosts, ReadLedger, SendCommand, Tell, TellStaying, WriteLedger
from trellis_wadm.backoff import Policy
from trellis_wadm.journal import Journal
from trellis_wadm.ledger import Ledger
from trellis_wadm.picture import Picture
from trellis_wadm.planner import Desired, Observed, Owned, Plan, command_host, plan
from trellis_wadm.planner.commands import Command, ScaleComponent, StartProvider, StopProvider
from trellis_wadm.planner.result import Step
from trellis_wadm.planner.staying import staying
from trellis_wadm.planner.world import SinceKey
from trellis_wadm.questions import Questions
from trellis_wadm.refusals import Refusal
from trellis_wadm.stages import Stages

__all__ = ["RETURN", "TICK", "Core", "Phase"]

TICK = 5.0
"""Seconds after which a pass is made even if nothing was heard."""
DEBOUNCE = 0.02
"""Seconds to wait for more news before a pass."""
RETURN = 2.5
"""Seconds that hosts have to come back after NATS was away."""
LOOK_AGAIN = 0.25
"""Seconds between two looks whether a host that nobody answered for beats all the same."""
AGAIN = 1.0
"""Seconds until another try after something could not be stored."""
ANEW_FOR = 30.0
"""Seconds in which one that stands by remembers what is to be tried anew: whoever led may not have noted it."""


class Phase(Enum):
    """What the core is waiting for."""

    STANDBY = "standby"
    LEDGER = "ledger"
    HOSTS = "hosts"
    IDLE = "idle"
    INVENTORIES = "inventories"
    NOTE = "note"
    ACT = "act"


class Core:
    """One host's reconciler. Times are seconds of one clock of the caller's choice."""

    def __init__(
        self,
        host_id: str,
        desired: Callable[[], Desired],
        policy: Policy | None = None,
        *,
        tick: float = TICK,
        members: Mapping[str, Member] | None = None,
        trust_after: float = -math.inf,
    ) -> None:
        """`desired` gives what is asked for at the moment; `members` is a live view of the beats."""
        self.picture = Picture(self._news)
        self.phase = Phase.STANDBY
        self.passes = 0
        """How many passes were made."""
        self.wake_at = math.inf
        """When `advance` is to be called at the latest."""
        self._host_id = host_id
        self._desired = desired
        self._policy = policy or Policy()
        self._journal = Journal(self._policy)
        self._tick = tick
        self._members = members
        self._connected = True
        self._trust_after = trust_after
        self._met = False
        """Whether all hosts were asked for once since we hear them."""
        self._finding = False
        self._searched = False
        """Whether those that earlier leaders knew were looked for."""
        self._questions = Questions(self.picture, host_id)
        self._doubted: set[str] = set()
        """Hosts that were given up although nothing is wrong with their beats yet."""
        self._dirty = False
        self._announced: list[str] = []
        self._anew: dict[str, float] = {}
        """Applications and hosts of which failures are to be forgotten, and when that was heard."""
        self._due = math.inf
        self._first = False
        self._ledger = Ledger()
        self._owned = Owned()
        self._since: Mapping[SinceKey, float] = {}
        self._plan = Plan()
        self._stages: Stages | None = None
        self._under_way: dict[str, Step] = {}
        self._actions: list[Action] = []

    @property
    def leading(self) -> bool:
        """Whether it holds the lease, as far as it was told."""
        return self.phase is not Phase.STANDBY

    # What is heard

    def _news(self, reason: str) -> None:
        self._dirty = True

    def changed(self) -> None:
        """Applications changed, or something else that only a new pass can judge."""
        self._dirty = True

    def announced(self, app: str) -> None:
        """Somebody deployed or undeployed: what failed before is tried anew."""
        self._journal.forget_application(app)
        self._announced.append(app)
        self._dirty = True

    def member(self, change: Change, now: float) -> None:
        """What the hosts' beats say."""
        host = change.host
        if change.kind in (ChangeKind.GONE, ChangeKind.LEFT):
            self.picture.lost_host(host, now)
        elif change.kind is ChangeKind.SUSPECT:
            self.picture.suspect(host)
        else:
            if change.kind is ChangeKind.RESTARTED:
                self._journal.forget_host(host)
                self.picture.restarted(host)
            if change.kind is not ChangeKind.UPDATED:
                self._send_again(host, now)
            self.picture.saw_beat(host, change.beat.draining, now)

    def _send_again(self, host: str, now: float) -> None:
        """It was away: what it has not answered may be lost, and is not waited for. Commands may come twice."""
        for key, step in list(self._under_way.items()):
            if command_host(step.command) == host:
                del self._under_way[key]
                self._journal.forget(key)
                if self._stages is not None:
                    self._stages.ended(key, True, now)

    def event(self, event: LatticeEvent, now: float) -> None:
        """An event of the lattice."""
        if isinstance(event.event, HostStarted):
            self._anew[event.source] = now
        news.hear(event, self.picture, self._journal, now)

    def connection_lost(self) -> None:
        """Nothing that is heard, or not heard, says anything until it is back."""
        self._connected = False

    def connection_back(self, now: float) -> None:
        self._connected, self._met = True, False
        self._trust_after = now + RETURN
        for id in self.picture.hosts:
            self.picture.touch(id, "the connection is back")

    def lease_gained(self, now: float) -> None:
        """A term begins: nothing that was sent in an earlier one counts."""
        self._journal = Journal(self._policy)
        self._since, self._plan, self._stages = {}, Plan(), None
        self._under_way.clear()
        self._first, self._finding, self._searched = True, False, False
        for id, file in self.picture.hosts.items():
            if not file.beating:
                self.picture.touch(id, "only a leader hears what happens there")
        self.phase = Phase.LEDGER
        self._actions.append(ReadLedger())

    def lease_lost(self) -> None:
        """From here on nothing may be sent; what is under way ends by itself."""
        self.phase, self._stages = Phase.STANDBY, None

    # Answers

    def ledger_read(self, ledger: Ledger, now: float) -> None:
        self._ledger, self._owned = ledger, ledger.owned
        if self.phase is Phase.LEDGER:
            self.phase = Phase.HOSTS
            self._journal.restore([each for each in ledger.refusals if self._still_refused(each)], now)

    def _still_refused(self, refusal: Refusal) -> bool:
        if refusal.app in self._anew or refusal.app in self._announced or refusal.command.host in self._anew:
            return False
        return refusal.boot == self._boot_of(refusal.command.host)

    def _boot_of(self, host: str) -> int | None:
        member = self._members.get(host) if self._members else None
        return member.beat.boot if member is not None else None

    def ledger_failed(self, now: float, *, conflict: bool = False) -> None:
        """It could not be read or written; with `conflict` somebody else has written it meanwhile."""
        if self.phase is Phase.STANDBY:
            return
        self.phase = Phase.LEDGER if conflict or self.phase is Phase.LEDGER else Phase.IDLE
        if self.phase is Phase.IDLE:
            self._due = now + AGAIN
        else:
            self._actions.append(ReadLedger())

    def ledger_written(self, ledger: Ledger, now: float) -> None:
        self._ledger = ledger
        if self.phase is Phase.NOTE:
            self._act(now)

    def hosts_found(self, ids: list[str], now: float) -> None:
        """The answer to `FindHosts`."""
        self._finding, self._searched = False, True
        for id in ids:
            self.picture.found_host(id, now)
        if now >= self._trust_after or self.picture.hosts.keys() >= self._expected():
            self._met = True

    def inventory_came(self, inventory: HostInventory, covers: int, now: float) -> None:
        """The answer to `AskInventory`."""
        asked = self._questions.asked_at(inventory.host_id, covers)
        if asked is not None:
            self._journal.saw_inventory(inventory, asked, now)
        if not self._questions.answered(inventory.host_id, covers):
            self._dirty = True  # the pass that asked did not wait for it
        self.picture.saw_inventory(inventory, now, covers)

    def inventory_missing(self, host: str, covers: int, now: float, *, absent: bool = False) -> None:
        """It did not answer; `absent` if nobody listens on its behalf at all."""
        self._questions.answered(host, covers)
        file = self.picture.hosts.get(host)
        if file is None or covers <= file.void or not self._connected:
            return
        if now >= self._trust_after:
            self.picture.no_answer(host, absent, now)
            if not file.live and self._members is not None and host in self._members:
                self._doubted.add(host)
        if file.live and not file.suspect:
            self._dirty = True  # question or answer may have been lost

    def inventory_unreadable(self, host: str, covers: int) -> None:
        """It answered something that is none: asking the same again would not help."""
        self._questions.answered(host, covers)
        self.picture.unreadable(host, covers)

    def command_ended(self, step: Step, error: TrellisError | None, now: float) -> None:
        """The answer to `SendCommand`."""
        command, host = step.command, command_host(step.command)
        if self._under_way.get(step.key) is not step:
            return  # it was not waited for any more
        del self._under_way[step.key]
        if self._stages is not None:
            self._stages.ended(step.key, error is not None, now)
        if error is not None:
            self._journal.failed(command, str(error), now, final=isinstance(error, RequestInvalid))
            self._dirty = True
            if host is not None and isinstance(error, Unavailable | DeadlineExceeded | Conflict | NotFound):
                # It is not as we think it is: gone, or running something else.
                self.picture.touch(host, f"host {host} refused a command")
            return
        if _is_start(command):
            self._journal.acknowledged(command, now)
        elif isinstance(command, StopProvider):
            self._dirty = True  # whatever waited for its port may start

    # What is to be done

    def advance(self, now: float) -> list[Action]:
        """Everything that is to be done by now; sets `wake_at`."""
        self.wake_at = math.inf
        self._anew = {name: at for name, at in self._anew.items() if now < at + ANEW_FOR}
        self._anew |= dict.fromkeys(self._announced, now)
        self._announced.clear()
        if self._connected:
            self._look_again(now)
            if self.phase is Phase.STANDBY:
                self._stand_by(now)
            else:
                self._lead(now)
            if self._doubted:
                self.wake_at = min(self.wake_at, now + LOOK_AGAIN)
        actions, self._actions = self._actions, []
        return actions

    def _look_again(self, now: float) -> None:
        """Hosts for which nobody listened: if they were only away for a moment, their beats go on as before."""
        for host in sorted(self._doubted):
            file, member = self.picture.hosts.get(host), self._members.get(host) if self._members else None
            if file is None or member is None or file.live:
                self._doubted.discard(host)
            elif member.heard > file.since:
                self._doubted.discard(host)
                self._send_again(host, now)
                self.picture.saw_beat(host, member.beat.draining, now)

    def _stand_by(self, now: float) -> None:
        """Keeps the picture current: nobody waits for it."""
        self._dirty = False
        if not self._met:
            self._find_hosts(frozenset())
        asked, later = self._questions.stand_by(now)
        self._actions += asked
        if later is not None:
            self.wake_at = later

    def _expected(self) -> set[str]:
        return {self._host_id, *self._ledger.hosts} if self._ledger.hosts else set()

    def _find_hosts(self, expect: frozenset[str]) -> None:
        if not self._finding:
            self._finding = True
            self._actions.append(FindHosts(expect))

    def _lead(self, now: float) -> None:
        if self.phase is Phase.HOSTS:
            expected = self._expected()
            if not self._met or (not self._searched and not expected <= self.picture.hosts.keys()):
                self._find_hosts(frozenset(expected))
                return
            self.phase, self._due = Phase.IDLE, now
        if self._dirty:
            self._dirty = False
            self._due = min(self._due, now + DEBOUNCE)
        if self.phase is Phase.IDLE:
            self._idle(now)
        if self.phase is Phase.INVENTORIES:
            self._gather(now)
        if self.phase is Phase.ACT:
            self._carry_on(now)

    def _idle(self, now: float) -> None:
        due = self.picture.next_check(self._due)
        if now < due:
            self.wake_at = due
            return
        self._due = math.inf
        self.picture.forget_old(now)
        self._actions += self._questions.ask_all(now, first=self._first)
        self.phase = Phase.INVENTORIES

    def _gather(self, now: float) -> None:
        """Waits for the inventories that were asked for, and plans."""
        if self._questions.waiting(now):
            self.wake_at = self._questions.until
            return
        self._first = False
        hosts, links, configs = self.picture.world(self._members)
        observed = Observed(hosts, links, configs, self._owned, self._journal.attempts, self._since)
        found = self._plan = plan(self._desired(), observed, now, self._policy)
        self._owned, self._since = found.owned, found.since
        self._journal.keep_only(found.wanted, now)
        self._advise(found, observed, now)
        live = frozenset(id for id, file in self.picture.hosts.items() if file.live)
        ledger = Ledger(found.owned, live, self._journal.refusals(self._boot_of))
        if ledger != self._ledger:
            self.phase = Phase.NOTE
            self._actions.append(WriteLedger(ledger))
        else:
            self._act(now)

    def _advise(self, found: Plan, observed: Observed, now: float) -> None:
        """Hosts of ours that are about to leave wait for what is moved, and should for nothing else."""
        for id, file in self.picture.hosts.items():
            host = observed.hosts[id]
            if file.beat_draining and host.live and host.known and host.ours:
                self._actions.append(TellStaying(id, staying(found, observed, id, now, self._policy)))

    def _act(self, now: float) -> None:
        self._actions.append(Tell(self._plan))
        ending = {step.command.host for step in self._under_way.values() if isinstance(step.command, StopProvider)}
        self._stages = Stages(self._plan, now, ending)
        self.phase = Phase.ACT
        self._carry_on(now)

    def _carry_on(self, now: float) -> None:
        """Sends what may go out; ends the pass when everything was answered, or nobody answers."""
        assert self._stages is not None
        for step in self._stages.next(now):
            self._journal.sent(step.command, step.app, now)
            self._under_way[step.key] = step
            self._actions.append(SendCommand(step))
        if not self._stages.done and now < self._stages.tired_at:
            self.wake_at = self._stages.tired_at
            return
        if not self._stages.done:
            self._dirty = True
        self._stages = None
        self.passes += 1
        self.phase = Phase.IDLE
        wake = self._plan.wake_at
        self._due = min(self._due, now + self._tick, math.inf if wake is None else max(wake, now + DEBOUNCE))
        if self._dirty:
            self._dirty = False
            self._due = min(self._due, now + DEBOUNCE)
        self.wake_at = self.picture.next_check(self._due)


def _is_start(command: Command) -> bool:
    return isinstance(command, StartProvider) or (isinstance(command, ScaleComponent) and command.count > 0)
