"""A start that failed for good stays failed when another host leads, until there is a reason to try again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from tests.wadm.manifests import application, component, spread
from tests.wadm.test_core import ONE, answer, beat, inventory, lead, sent, standby
from tests.wadm.test_reconciler import WAIT, Mesh, now, until
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.membership import Beat, Member
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.events import HostStarted, LatticeEvent
from trellis_wadm.actions import Action, AskInventory, ReadLedger, Tell, WriteLedger
from trellis_wadm.backoff import Policy
from trellis_wadm.core import ANEW_FOR, Core
from trellis_wadm.journal import Journal
from trellis_wadm.ledger import Ledger
from trellis_wadm.planner import StatusType
from trellis_wadm.planner.commands import PutConfig, ScaleComponent, StartProvider
from trellis_wadm.refusals import MAX_REFUSALS, Refusal

SCALE = ScaleComponent("NA", "app-c", "bad.wasm", 2, ("x",), {"k": "v"}, {"max_memory_limit": "1"}, True)
REFUSALS = (
    Refusal(SCALE, "app", "not a component", 1, True, 7),
    Refusal(StartProvider("NB", "app-p", "p:1", (), {"k": "v"}), None, "no (after 6 attempts)", 6, False),
)


def test_they_survive_the_store() -> None:
    ledger = Ledger(refusals=REFUSALS)

    assert Ledger.decode(ledger.encode()) == ledger


def _maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(["command", "app", "error", "failures", "final", "host", "id"]), values)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.booleans(), lambda inner: st.lists(inner) | _maps(inner)
    )
)
def test_what_cannot_be_read_is_left_out(found: Any) -> None:
    assert Ledger.decode(_record(found)).refusals == ()


def _record(found: Any) -> bytes:
    good = json.loads(Ledger(refusals=REFUSALS).encode())["refusals"]
    return json.dumps({"refusals": [found, {**good[0], "command": found}, {**good[0], "error": [found]}]}).encode()


def test_a_ledger_stays_well_below_the_length_of_a_message() -> None:
    long = {"k" * 200: "v" * 20_000}
    many = [
        Refusal(ScaleComponent(f"N{i}", "c", "i", 1, (), {"k": "v" * 4000}), "a", "e" * 500, 1, True)
        for i in range(200)
    ]
    ledger = Ledger(refusals=(Refusal(ScaleComponent("NA", "c", "i", 1, (), long), "a", "e", 1, True), *many))

    assert len(ledger.encode()) < 900_000
    assert len(Ledger.decode(ledger.encode()).refusals) == MAX_REFUSALS


def test_only_starts_that_failed_for_good_are_noted() -> None:
    journal = Journal(Policy(limit=2))
    tried = ScaleComponent("NA", "app-d", "slow.wasm", 1)
    config = PutConfig("c", {})
    for command in (SCALE, tried, config):
        journal.sent(command, "app", 1.0)
    journal.failed(SCALE, "no" * 1000, 2.0, final=True)
    journal.failed(config, "no", 2.0, final=True)
    journal.failed(tried, "once", 2.0)

    assert [(each.command, each.app, each.boot) for each in journal.refusals({"NA": 3}.get)] == [(SCALE, "app", 3)]
    assert len(journal.refusals({}.get)[0].error) == 500


def refused(core: Core) -> Ledger:
    """The ledger after the only start was refused."""
    (command,) = sent(lead(core, 10.0))
    core.command_ended(command.step, RequestInvalid("that is no component"), 10.1)
    ledgers: list[Ledger] = []
    until_quiet(core, core.advance(10.2), Ledger(), 10.3, ledgers)
    return ledgers[-1]


def until_quiet(
    core: Core, actions: list[Action], stored: Ledger, moment: float, ledgers: list[Ledger]
) -> list[Action]:
    """Answers everything; returns what else was asked for."""
    found: list[Action] = []
    for _ in range(20):
        for action in actions:
            if isinstance(action, AskInventory):
                core.inventory_came(inventory(action.host), action.covers, moment)
            elif isinstance(action, ReadLedger):
                core.ledger_read(stored, moment)
            elif isinstance(action, WriteLedger):
                ledgers.append(action.ledger)
                core.ledger_written(action.ledger, moment)
            else:
                found.append(action)
        moment += 0.05
        actions = core.advance(moment)
    return found


def successor(ledger: Ledger, core: Core | None = None, moment: float = 100.0) -> list[Action]:
    """What the next leader does."""
    core = core or standby("NA")
    core.lease_gained(moment)
    return until_quiet(core, core.advance(moment), ledger, moment, [])


def test_the_next_leader_does_not_try_again_and_says_why() -> None:
    ledger = refused(standby("NA"))

    actions = successor(ledger)

    assert not sent(actions)
    told = [action for action in actions if isinstance(action, Tell)]
    assert told[-1].plan.applications["app"].type is StatusType.FAILED
    assert "that is no component" in told[-1].plan.applications["app"].message


@pytest.mark.parametrize(("before", "tries"), [(1.0, 1), (ANEW_FOR + 1, 0)])
def test_who_stood_by_when_it_was_deployed_again_tries_again(before: float, tries: int) -> None:
    ledger = refused(standby("NA"))
    core = standby("NA")
    core.announced("app")
    core.advance(100.0 - before)

    assert len(sent(successor(ledger, core))) == tries


def test_a_host_that_started_anew_is_asked_again() -> None:
    ledger = refused(standby("NA"))
    core = standby("NA")
    core.event(LatticeEvent("host_started", "NA", "1", "", {}, HostStarted(friendly_name="a", labels={})), 99.0)

    assert len(sent(successor(ledger, core))) == 1


@pytest.mark.parametrize(("boot", "tries"), [(1, 0), (2, 1)])
def test_another_process_of_the_host_is_asked_again(boot: int, tries: int) -> None:
    ledger = refused(watching(1))
    assert [each.boot for each in ledger.refusals] == [1]

    assert len(sent(successor(ledger, watching(boot)))) == tries


def watching(boot: int) -> Core:
    """One that stands by and hears this process of the host."""
    core = Core("NA", lambda: ONE, members={"NA": Member(Beat("NA", boot, 1), 0.0)})
    core.member(beat("NA"), 0.0)
    actions = core.advance(0.0)
    while actions:
        actions = answer(core, actions, 0.0)
    return core


@pytest_asyncio.fixture
async def mesh(nats_server: str, lattice: str, connection: Connection) -> AsyncIterator[Mesh]:
    mesh = Mesh(nats_server, lattice, connection)
    yield mesh
    await mesh.aclose()


async def test_a_bad_image_is_not_tried_again_because_the_leader_died(mesh: Mesh) -> None:
    policy = Policy(first=0.01, cap=0.01, limit=2)
    host = await mesh.host("NA")
    host.fail_components["app-c"] = "that is no component"
    second = await mesh.reconciler("NB", policy=policy)
    await until(now(lambda: second.leading))
    await mesh.deploy(application("app", component("c", spread(1))))
    await mesh.status("app", StatusType.FAILED, "(after 2 attempts)")
    third = await mesh.reconciler("NC", policy=policy)
    await mesh.deploy(application("other", component("d", spread(1))))
    await mesh.status("other", StatusType.DEPLOYED)
    before = list(host.scales)

    stop, task, _ = mesh._running[0]
    stop.set()
    await asyncio.wait_for(task, WAIT)
    await until(now(lambda: third.leading))
    await mesh.deploy(application("late", component("e", spread(1))))
    await mesh.status("late", StatusType.DEPLOYED)

    assert [scale.component_id for scale in host.scales[len(before) :]] == ["late-e"]
    await mesh.status("app", StatusType.FAILED, "that is no component")
