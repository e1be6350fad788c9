"""What goes wrong in a run, decided by its seed before it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from trellis_sim.process import Process
from trellis_wadm.inventory import CORDON_LABEL, DRAIN_LABEL

if TYPE_CHECKING:
    from trellis_sim.simulation import Simulation

__all__ = ["Faults", "Injector", "schedule"]

PER = 10.0
"""Seconds that rates are about."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How much goes wrong: rates are the share of hosts that each fault meets in ten seconds."""

    kill_rate: float = 0.0
    """SIGKILL; the host starts again after a while, with a clock that may be wrong."""
    leave_rate: float = 0.0
    """A clean stop, and a start."""
    partition_rate: float = 0.0
    """One host loses its connection."""
    freeze_rate: float = 0.0
    """SIGSTOP."""
    split_rate: float = 0.0
    """The lattice falls into two halves, as often as one host would be hit."""
    nats_rate: float = 0.0
    """NATS is away for everyone, as often as one host would be hit."""
    cordon_rate: float = 0.0
    """Somebody cordons or drains a host for a while."""
    change_rate: float = 0.0
    """Somebody deploys another version, or undeploys and deploys again, as often as one host would be hit."""
    shortest: float = 0.3
    longest: float = 8.0
    """Seconds that each lasts."""
    skew: float = 120.0
    """Seconds by which the clocks of hosts are wrong, this way or the other."""


def schedule(faults: Faults, hosts: int, begin: float, end: float, random: Random) -> list[tuple[float, str]]:
    """When what begins, in order of time."""
    rates = (
        ("kill", faults.kill_rate * hosts),
        ("leave", faults.leave_rate * hosts),
        ("cut", faults.partition_rate * hosts),
        ("freeze", faults.freeze_rate * hosts),
        ("split", faults.split_rate),
        ("nats", faults.nats_rate),
        ("cordon", faults.cordon_rate * hosts),
        ("change", faults.change_rate),
    )
    found = [(time, name) for name, rate in rates for time in _times(rate / PER, begin, end, random)]
    return sorted(found)


def _times(rate: float, begin: float, end: float, random: Random) -> Iterator[float]:
    """A Poisson process."""
    time = begin
    while rate > 0 and (time := time + random.expovariate(rate)) < end:
        yield time


class Injector:
    """Makes faults happen in a simulation, and ends them by `end`."""

    def __init__(self, simulation: Simulation, faults: Faults, end: float) -> None:
        self._simulation = simulation
        self._universe = simulation.universe
        self._faults = faults
        self._end = end
        self._random = simulation.universe.random
        self._acts: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "leave": self._leave,
            "cut": self._cut,
            "freeze": self._freeze,
            "split": self._split,
            "nats": self._nats,
            "cordon": self._cordon,
            "change": self._change,
        }
        self.count = 0

    def inject(self, name: str) -> None:
        self.count += 1
        self._acts[name]()
        self._simulation.properties.disturbed()

    def _later(self, act: Callable[[], None]) -> None:
        """Ends a fault after a while."""

        def over() -> None:
            act()
            self._simulation.properties.disturbed()

        clock = self._universe.clock
        seconds = self._random.uniform(self._faults.shortest, self._faults.longest)
        clock.at(min(clock.now + seconds, self._end), over)

    def _pick(self, fits: Callable[[Process], bool]) -> Process | None:
        hosts = [p for p in self._universe.processes.values() if p.alive and fits(p)]
        return self._random.choice(hosts) if hosts else None

    def _kill(self) -> None:
        process = self._pick(lambda p: True)
        if process is not None:
            process.kill()
            self._later(lambda: self._simulation.start_host(process.id))

    def _leave(self) -> None:
        process = self._pick(lambda p: p.attached and not p.frozen and not p.draining)
        if process is None:
            return
        process.draining = True
        process.changed()

        def over() -> None:
            if process.alive:
                process.leave()
            self._later(lambda: self._simulation.start_host(process.id))

        self._later(over)

    def _cut(self) -> None:
        process = self._pick(lambda p: p.attached)
        if process is not None:
            process.cut()
            self._later(process.heal)

    def _freeze(self) -> None:
        process = self._pick(lambda p: not p.frozen)
        if process is not None:
            process.freeze()
            self._later(process.thaw)

    def _split(self) -> None:
        universe = self._universe
        ids = sorted(universe.processes)
        away = self._random.sample(ids, self._random.randint(1, max(1, len(ids) // 2)))
        for id in away:
            universe.processes[id].side = 1
        universe.trace.add(universe.clock.now, "lattice", "is split", " ".join(away))

        def over() -> None:
            universe.trace.add(universe.clock.now, "lattice", "is one again")
            for process in universe.processes.values():
                process.side = 0
                if process.alive:
                    universe.bus.store.resync(process)

        self._later(over)

    def _nats(self) -> None:
        universe = self._universe
        if not universe.bus.up:
            return
        universe.bus.up = False
        universe.trace.add(universe.clock.now, "NATS", "is away")
        for process in universe.processes.values():
            process.nats_gone()

        def over() -> None:
            universe.bus.up = True
            universe.trace.add(universe.clock.now, "NATS", "is back")
            for process in universe.processes.values():
                universe.clock.after(self._random.uniform(0.05, 1.25), process.nats_back)

        self._later(over)

    def _cordon(self) -> None:
        process = self._pick(lambda p: not p.frozen)
        if process is None:
            return
        label = self._random.choice((CORDON_LABEL, DRAIN_LABEL))
        universe, properties = self._universe, self._simulation.properties
        universe.trace.add(universe.clock.now, process.id, "gets label", label)
        properties.suspended += 1
        process.workloads.put_label(label, "true")

        def over() -> None:
            properties.suspended -= 1
            if process.alive:
                universe.trace.add(universe.clock.now, process.id, "loses label", label)
                process.workloads.put_label(label, None)

        self._later(over)

    def _change(self) -> None:
        self._simulation.change_desired()
