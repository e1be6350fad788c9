"""Lattices under faults on a virtual clock: what must hold, and that every run can be seen again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.wadm.manifests import application, component, group, link, provider, spread
from trellis_sim.bus import ABSENT, LOST, Bus, Weather
from trellis_sim.campaign import scenario_of
from trellis_sim.clock import Clock
from trellis_sim.faults import Faults
from trellis_sim.properties import Bounds
from trellis_sim.simulation import Scenario, Simulation, simulate
from trellis_sim.universe import Starts
from trellis_wadm.manifest.model import Manifest
from trellis_wadm.planner import Desired, desired_of

SEEDS = range(48)
REGRESSIONS = {
    67: "an application that changes while NATS is away",
    1566: "a status whose acknowledgement was lost",
    3053: "the event of a failed start was lost with the connection of its host",
    20165: "nobody answered for a host whose beats went on",
    20437: "the same, while others were frozen",
    20674: "a stop that was lost with the connection of its host",
}


def desired(*applications: object) -> Desired:
    return desired_of([Manifest.model_validate(each) for each in applications])


COUNTER = desired(
    application("counter", component("c", spread(4), link("kv", to={"bucket": {"bucket": "counts"}})), provider("kv"))
)


@pytest.mark.parametrize("block", range(6))
def test_a_campaign_of_many_mixtures(block: int) -> None:
    size = len(SEEDS) // 6
    for seed in SEEDS[block * size : (block + 1) * size]:
        result = simulate(scenario_of(seed), seed)
        assert result.held, f"seed {seed}: {result.violated}: {result.text}\n" + "\n".join(result.trace)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_once_went_wrong(seed: int) -> None:
    result = simulate(scenario_of(seed), seed)

    assert result.held, f"{REGRESSIONS[seed]}: {result.violated}: {result.text}"


def test_equal_seeds_give_equal_runs_in_any_process() -> None:
    program = (
        "from trellis_sim.campaign import scenario_of; from trellis_sim.simulation import simulate\n"
        "for seed in (3, 11, 430):\n"
        "    result = simulate(scenario_of(seed), seed, keep=None)\n"
        "    print(chr(10).join(result.trace), result.events, result.commands, result.worst_failover)"
    )

    def run(hash_seed: str) -> bytes:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True).stdout

    first, second = run("1"), run("4711")

    assert first == second
    assert first.count(b"\n") > 100
    assert simulate(scenario_of(3), 3).commands != simulate(scenario_of(3), 4).commands


def test_a_killed_host_is_replaced_within_the_bound() -> None:
    scenario = Scenario((COUNTER,), faults=Faults(kill_rate=1.0))

    result = simulate(scenario, 1)

    assert result.held, result.text
    assert result.failovers > 0
    assert result.worst_failover < 3.5


def test_without_faults_nothing_is_said_twice() -> None:
    result = simulate(Scenario((COUNTER,), hosts=3, starts=Starts(quick=0.1)), 1, keep=None)

    assert result.held
    assert result.commands["PutConfig"] == result.commands["PutLink"] == result.commands["StartProvider"] == 1
    assert result.commands["ScaleComponent"] == 3, "one for each host"


def test_spreads_of_two_zones_survive_a_partition() -> None:
    zones = spread(6, group("a", 50, zone="a"), group("b", 50, zone="b"))
    scenario = Scenario(
        (desired(application("zoned", component("c", zones))),),
        hosts=6,
        labels=({"zone": "a"}, {"zone": "b"}),
        faults=Faults(partition_rate=0.5, split_rate=1.0),
    )

    assert simulate(scenario, 5).held


class TestViolations:
    def test_a_property_that_does_not_hold_is_named_with_its_trace(self) -> None:
        scenario = Scenario((COUNTER,), hosts=3, faults=Faults(kill_rate=1.0), bounds=Bounds(failover=0.1))

        result = simulate(scenario, 1)

        assert (result.held, result.violated) == (False, "gone")
        assert "it runs nowhere, but a host fits" in result.text
        assert any("is killed" in line for line in result.trace)
        assert simulate(scenario, 1) == result

    def test_a_host_that_loses_what_it_runs_unheard_is_found(self) -> None:
        """Behind everybody's back: neither a beat nor an event tells that a component is gone."""
        simulation = Simulation(Scenario((COUNTER,), hosts=3), 1)
        clock = simulation.universe.clock

        def lose() -> None:
            host = simulation.universe.processes["N01"]
            host.workloads.state._components.clear()

        clock.at(50.0, lose)
        with pytest.raises(Exception, match="asked for are 4 in all") as raised:
            simulation.run()
        assert getattr(raised.value, "name", "") in ("convergence", "status")

    def test_a_command_without_the_lease_is_found(self) -> None:
        simulation = Simulation(Scenario((COUNTER,), hosts=3, faults=Faults(kill_rate=2.0)), 1)

        def usurp() -> None:
            for process in simulation.universe.processes.values():
                process.scheduler.rules._valid_until = float("inf")

        simulation.universe.clock.at(5.0, usurp)
        with pytest.raises(Exception, match="holds the lease"):
            simulation.run()


class _Node:
    """A participant of the bus that only listens."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.alive = True
        self.attached = True
        self.cut_at = 0.0
        self.side = 0
        self.heard: list[object] = []

    def run(self, act: object, *args: object) -> None:
        assert callable(act)
        act(*args)


class TestBus:
    def bus(self, **weather: float) -> tuple[Clock, Bus, _Node, _Node]:
        from random import Random

        clock = Clock()
        bus = Bus(clock, Random(1), Weather(**weather))
        one, other = _Node("one"), _Node("other")
        bus.nodes.update({"one": one, "other": other})
        return clock, bus, one, other

    def ask(self, bus: Bus, source: _Node, target: str) -> list[object]:
        answers: list[object] = []
        bus.request(source, target, lambda node, reply: reply(f"{node.id} answers"), answers.append, 2.0)
        return answers

    def test_an_answer_comes_once(self) -> None:
        clock, bus, one, _ = self.bus(duplication=1.0)
        answers = self.ask(bus, one, "other")

        clock.run(5.0)

        assert answers == ["other answers"]

    def test_a_dead_node_is_absent_and_a_cut_one_silent_for_a_while(self) -> None:
        clock, bus, one, other = self.bus()
        other.attached = False
        silent = self.ask(bus, one, "other")
        clock.run(2.5)
        assert silent == [LOST]

        clock.run(4.0)
        absent = self.ask(bus, one, "other")
        nobody = self.ask(bus, one, "nobody")
        clock.run(4.1)

        assert (absent, nobody) == ([ABSENT], [ABSENT])

    def test_messages_are_lost_doubled_and_late(self) -> None:
        def heard(**weather: float) -> int:
            clock, bus, one, other = self.bus(**weather)
            for number in range(1000):
                bus.broadcast(one, lambda node: node.heard.append, number)
            clock.run(10.0)
            return len(other.heard)

        assert 800 < heard(loss=0.1) < 950
        assert 1050 < heard(duplication=0.1) < 1200
        assert heard(reorder=0.2) == heard() == 1000

    def test_a_watch_shows_what_it_missed(self) -> None:
        clock, bus, one, _ = self.bus()
        shown: list[tuple[str, object]] = []
        bus.store.put("links", "a", 1)
        bus.store.watch(one, "links", lambda key, value: shown.append((key, value)))
        clock.run(1.0)
        one.attached = False
        bus.store.put("links", "a", 2)
        bus.store.put("links", "b", 3)
        clock.run(2.0)
        assert shown == [("a", 1)]

        one.attached = True
        bus.store.resync(one)
        clock.run(3.0)

        assert shown == [("a", 1), ("a", 2), ("b", 3)]

    def test_writes_are_checked(self) -> None:
        _, bus, _, _ = self.bus()
        store = bus.store

        first = store.put("lease", "x", "mine", 0)

        assert store.put("lease", "x", "yours", 0) is store.CONFLICT
        assert store.put("lease", "x", None, first) is not store.CONFLICT
        assert store.get("lease", "x") == (None, 0)
