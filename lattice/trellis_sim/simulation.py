"""One run: a lattice, what is asked of it, what goes wrong, and what must hold. The seed decides everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from trellis_sim.bus import Bus, Weather
from trellis_sim.clock import Clock
from trellis_sim.faults import Faults, Injector, schedule
from trellis_sim.process import Process
from trellis_sim.properties import Bounds, Properties, Violated
from trellis_sim.trace import Trace
from trellis_sim.universe import Starts, Universe
from trellis_wadm.planner import Desired

__all__ = ["Result", "Scenario", "Simulation", "simulate"]

_SAMPLE = 1.0
"""Seconds between two looks for what must not last."""
_CALM = 15.0
"""Seconds after the last fault until nothing may be left to do."""
_QUIET = 6.0
"""Seconds in the end in which no command may be sent: longer than the scheduler ever waits."""
_EPOCH = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a run is about.

    Host i has `labels[i % len(labels)]`; `desired` are the versions that are deployed one after the other.
    """

    desired: Sequence[Desired]
    hosts: int = 5
    duration: float = 60.0
    labels: Sequence[Mapping[str, str]] = ({},)
    faults: Faults = field(default_factory=Faults)
    weather: Weather = field(default_factory=Weather)
    starts: Starts = field(default_factory=Starts)
    bounds: Bounds | None = None
    """None: what these starts and this weather allow."""

    @property
    def last_fault(self) -> float:
        """When the last fault has ended."""
        return max(3.0, self.duration - _CALM - _QUIET - (20.0 if self.starts.failing else 0.0))


@dataclass(frozen=True, slots=True)
class Result:
    """How a run went. `violated` is the name of the property that did not hold."""

    seed: int
    violated: str | None
    text: str
    at: float
    faults: int
    commands: Mapping[str, int]
    worst_failover: float
    failovers: int
    events: int
    trace: tuple[str, ...]
    """The last events, where something was violated; all of them where that was asked for."""

    @property
    def held(self) -> bool:
        return self.violated is None


class Simulation:
    """Made for one run."""

    def __init__(self, scenario: Scenario, seed: int, *, keep: int | None = 200) -> None:
        """`keep`: how many of the last events are remembered; None: all."""
        random = Random(seed)
        clock = Clock()
        trace = Trace(keep)
        self.scenario = scenario
        self.seed = seed
        self.universe = Universe(clock, random, Bus(clock, random, scenario.weather), trace, scenario.starts)
        self.properties = Properties(self.universe, scenario.bounds or bounds_of(scenario))
        self.universe.on_command = self.properties.command
        self.universe.on_change = self.properties.changed
        self._deployed = -1
        self._injector = Injector(self, scenario.faults, scenario.last_fault)

    def run(self) -> None:
        """Raises `Violated`."""
        scenario, clock = self.scenario, self.universe.clock
        for i in range(scenario.hosts):
            clock.at(self.universe.random.uniform(0.0, 0.5), self.start_host, f"N{i:02d}")
        clock.at(1.0, self.change_desired)
        end = scenario.last_fault
        for time, name in schedule(scenario.faults, scenario.hosts, 2.0, end, self.universe.random):
            clock.at(time, self._injector.inject, name)
        clock.at(end, self._calm)
        clock.after(_SAMPLE, self._sample)
        clock.run(scenario.duration - _QUIET)
        self._judge("convergence")
        self.properties.quiet = True
        clock.run(scenario.duration)
        self._judge("stability")

    def _calm(self) -> None:
        self.universe.faulty = False
        self.universe.trace.add(self.universe.clock.now, "faults", "are over")
        self.properties.disturbed()

    def _sample(self) -> None:
        self.properties.sample()
        self.universe.clock.after(_SAMPLE, self._sample)

    def _judge(self, name: str) -> None:
        """Exactly what is desired runs, once, and the statuses say so."""
        properties = self.properties
        failed = {app for app, status in self.universe.statuses.items() if status == "failed"}
        excused = failed if self.scenario.starts.failing else set()
        wrong = properties.leftovers()
        for app in self.desired.applications:
            short = properties.shortcomings(app)
            if app not in excused:
                wrong += [text for text in short if " fits no host" not in text and " finds " not in text]
            if not short and self.universe.statuses.get(app) != "deployed" and app not in excused:
                wrong.append(f"the status of {app} is {self.universe.statuses.get(app)}")
        if wrong:
            raise Violated(name, "; ".join(wrong))

    @property
    def desired(self) -> Desired:
        return self.scenario.desired[self._deployed % len(self.scenario.desired)]

    @property
    def injected(self) -> int:
        return self._injector.count

    def start_host(self, id: str) -> None:
        """A host starts, with a clock that is wrong in a way of its own."""
        universe, scenario = self.universe, self.scenario
        before = universe.processes.get(id)
        if before is not None and before.alive:
            return
        random, skew = universe.random, scenario.faults.skew
        boot = _EPOCH + int((universe.clock.now + random.uniform(-skew, skew)) * 1000)
        number = int(id[1:])
        labels = {"host.impl": "trellis", **scenario.labels[number % len(scenario.labels)]}
        process = Process(
            universe, id, labels, boot, offset=random.uniform(0.0, 1e5), drift=random.uniform(-1e-4, 1e-4)
        )
        universe.processes[id] = process
        process.start()

    def change_desired(self) -> None:
        """The next version is deployed."""
        self._deployed += 1
        universe, desired = self.universe, self.desired
        universe.trace.add(universe.clock.now, "somebody", "deploys", f"version {self._deployed}")
        universe.bus.store.put("desired", "desired", desired)
        self.properties.desire(desired)
        for process in universe.processes.values():
            if process.alive and universe.bus.up and process.attached and process.side == 0:
                for app in desired.applications:
                    process.run(process.scheduler.announced, app)


def bounds_of(scenario: Scenario) -> Bounds:
    """Three seconds and the time of a start; what is lost on the way is noticed when its time is up."""
    weather, starts = scenario.weather, scenario.starts
    extra = starts.longest + 0.2
    if weather.loss or weather.reorder:
        extra += 5.0
    if starts.failing:
        extra = math.inf
    return Bounds(3.0 + extra, 4.0 + 2 * extra)


def simulate(scenario: Scenario, seed: int, *, keep: int | None = 200) -> Result:
    """One run. Equal arguments give equal results, whatever the process."""
    simulation = Simulation(scenario, seed, keep=keep)
    violated, text = None, ""
    try:
        simulation.run()
    except Violated as error:
        violated, text = error.name, error.text
    universe = simulation.universe
    trace = tuple(universe.trace.lines()) if violated or keep is None else ()
    return Result(
        seed=seed,
        violated=violated,
        text=text,
        at=universe.clock.now,
        faults=simulation.injected,
        commands=dict(sorted(universe.commands.items())),
        worst_failover=simulation.properties.worst_failover,
        failovers=simulation.properties.failovers,
        events=universe.clock.events,
        trace=trace,
    )
