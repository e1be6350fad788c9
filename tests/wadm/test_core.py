"""The reconciler's core by itself: what is heard goes in, actions come out, the clock is a number."""

from __future__ import annotations

from tests.wadm.manifests import application, component, manifest, spread
from trellis_lattice.bus.membership import Beat, Change, ChangeKind
from trellis_lattice.control.host import HostInventory
from trellis_lattice.errors import DeadlineExceeded
from trellis_wadm.actions import Action, AskInventory, FindHosts, ReadLedger, SendCommand, Tell, WriteLedger
from trellis_wadm.core import Core, Phase
from trellis_wadm.ledger import Ledger
from trellis_wadm.planner import Desired, desired_of
from trellis_wadm.planner.commands import ScaleComponent

ONE = desired_of([manifest(application("app", component("c", spread(1))))])


def beat(host: str, kind: ChangeKind = ChangeKind.JOINED) -> Change:
    return Change(kind, host, Beat(host, 1, 1))


def inventory(host: str, starting: tuple[str, ...] | None = ()) -> HostInventory:
    return HostInventory(host_id=host, friendly_name=host, labels={}, components=(), providers=(), starting=starting)


def answer(core: Core, actions: list[Action], now: float) -> list[Action]:
    """Answers questions about hosts, and returns what follows."""
    for action in actions:
        if isinstance(action, FindHosts):
            core.hosts_found([], now)
        elif isinstance(action, AskInventory):
            core.inventory_came(inventory(action.host), action.covers, now)
        elif isinstance(action, ReadLedger):
            core.ledger_read(Ledger(), now)
        elif isinstance(action, WriteLedger):
            core.ledger_written(action.ledger, now)
    return core.advance(now)


def standby(*hosts: str, desired: Desired = ONE) -> Core:
    """One that has watched the lattice for a while."""
    core = Core("NA", lambda: desired)
    for host in hosts:
        core.member(beat(host), 0.0)
    actions = core.advance(0.0)
    while actions:
        actions = answer(core, actions, 0.0)
    return core


def sent(actions: list[Action]) -> list[SendCommand]:
    return [action for action in actions if isinstance(action, SendCommand)]


def lead(core: Core, now: float) -> list[Action]:
    """Takes the lease and plans; returns the actions of that."""
    core.lease_gained(now)
    actions = core.advance(now)
    while actions and not sent(actions):
        actions = answer(core, actions, now)
    return actions


def test_whoever_stands_by_plans_at_once_without_asking_anybody() -> None:
    core = standby("NA", "NB")

    core.lease_gained(10.0)
    first = core.advance(10.0)
    core.ledger_read(Ledger(), 10.0)
    second = core.advance(10.0)

    assert first == [ReadLedger()]
    assert [type(action) for action in second] == [WriteLedger], "the next thing is what it is about to do"
    assert isinstance(second[0], WriteLedger)
    core.ledger_written(second[0].ledger, 10.0)
    third = core.advance(10.0)
    assert [type(action) for action in third] == [Tell, SendCommand]


def test_only_the_front_row_keeps_inventories() -> None:
    core = Core("NZ", lambda: ONE)
    for host in ("NA", "NB", "NC", "ND", "NZ"):
        core.member(beat(host), 0.0)

    assert core.advance(0.0) == [FindHosts()]


def test_what_changed_is_asked_for_before_the_first_plan() -> None:
    core = standby("NA", "NB")
    core.member(beat("NB", ChangeKind.UPDATED), 9.9)

    core.lease_gained(10.0)
    core.advance(10.0)
    core.ledger_read(Ledger(), 10.0)
    actions = core.advance(10.0)

    assert [(action.host) for action in actions if isinstance(action, AskInventory)] == ["NB"]
    assert core.phase is Phase.INVENTORIES


def test_a_silent_host_of_which_something_is_known_is_not_waited_for() -> None:
    core = standby("NA", "NB")
    core.member(beat("NB", ChangeKind.SUSPECT), 9.0)

    core.lease_gained(10.0)
    core.advance(10.0)
    core.ledger_read(Ledger(), 10.0)
    actions = core.advance(10.0)

    assert [type(action) for action in actions] == [AskInventory, WriteLedger]


def test_nothing_is_sent_once_the_lease_is_lost() -> None:
    core = standby("NA")
    core.lease_gained(10.0)
    core.advance(10.0)
    core.ledger_read(Ledger(), 10.0)
    (write,) = core.advance(10.0)
    core.lease_lost()
    assert isinstance(write, WriteLedger)

    core.ledger_written(write.ledger, 10.1)

    assert not sent(core.advance(10.1))
    assert not core.leading


def test_a_leader_that_finds_anothers_note_reads_it_first() -> None:
    core = standby("NA")
    core.lease_gained(10.0)
    core.advance(10.0)
    core.ledger_read(Ledger(), 10.0)
    core.advance(10.0)

    core.ledger_failed(10.1, conflict=True)

    assert core.advance(10.1) == [ReadLedger()]


def test_a_command_is_not_sent_twice_while_it_is_under_way() -> None:
    core = standby("NA")
    (command,) = sent(lead(core, 10.0))

    core.changed()
    later = core.advance(11.0)
    later += core.advance(11.1)

    assert isinstance(command.step.command, ScaleComponent)
    assert not sent(later)


def test_what_a_host_that_was_away_has_not_answered_is_sent_again() -> None:
    core = standby("NA")
    (command,) = sent(lead(core, 10.0))
    core.member(beat("NA", ChangeKind.SUSPECT), 11.0)
    core.member(beat("NA", ChangeKind.RECOVERED), 11.5)

    actions = core.advance(11.5)
    for moment in (11.6, 11.7):
        actions = answer(core, actions + core.advance(moment), moment)
        if sent(actions):
            break

    assert [action.step.command for action in sent(actions)] == [command.step.command]
    core.command_ended(command.step, DeadlineExceeded("too late"), 12.0)
    assert core.phase is Phase.ACT, "the answer to the first one is of no concern any more"


def test_a_start_that_no_inventory_shows_has_failed() -> None:
    core = standby("NA")
    (command,) = sent(lead(core, 10.0))
    core.command_ended(command.step, None, 10.01)
    core.advance(10.02)
    core.member(beat("NA", ChangeKind.UPDATED), 10.5)
    actions = core.advance(10.5)

    told: list[Tell] = []
    for moment in (10.6, 10.7, 10.8):
        actions = answer(core, actions, moment) + core.advance(moment + 0.05)
        told += [action for action in actions if isinstance(action, Tell)]

    message = told[-1].plan.applications["app"].message
    assert "nothing was heard of the reason" in message


def test_while_nats_is_away_nothing_is_done() -> None:
    core = standby("NA")
    lead(core, 10.0)
    core.connection_lost()
    core.changed()

    assert core.advance(20.0) == []

    core.connection_back(21.0)
    core.advance(21.0)
    assert any(isinstance(action, AskInventory) for action in core.advance(21.1))
