"""What breaks, one function for each: `async def NAME(bench: Bench) -> list[Result]`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.result import Result, at_most, percentile, reported
from tests.fixtures.lattice import free_port
from tests.faults.fleet import Fleet, HostProcess
from tests.faults.load import Load, Sample, outcomes, steady
from tests.faults.manifests import hello

__all__ = ["SCENARIOS", "Bench"]


@dataclass(slots=True)
class Bench:
    """What a scenario gets: a fleet to break, how many rounds, and where to tell what it does."""

    fleet: Fleet
    rounds: int
    rate: float
    say: Callable[[str], None]


async def _one_of_two(bench: Bench) -> tuple[str, int]:
    """An edge that listens, and two workers of which one runs the component. The edge's address."""
    fleet = bench.fleet
    await fleet.start_nats()
    await fleet.start_host("w1", role="worker")
    edge = await fleet.start_host("edge", role="edge")
    port = 8000 if fleet.network.real else free_port()
    await fleet.deploy("greet", hello(port))
    await fleet.start_host("w2", role="worker")
    return edge.machine.address, port


def _tell(bench: Bench, what: str, load: Load, since: float, moved: float | None) -> None:
    failed = load.failures(since)
    bench.say(f"{what}: answers again after {f'{moved:.2f} s' if moved is not None else 'never'}; "
              f"failed: {outcomes(failed)} of {len(load.after(since))}")  # fmt: skip


def _lost(samples: Sequence[Sample]) -> list[Sample]:
    """Failures of calls that had certainly not started."""
    return [each for each in samples if not each.ok and not each.maybe_executed]


async def sigkill(bench: Bench) -> list[Result]:
    """A worker dies while it serves; its component is to answer on the other one."""
    return await _kill_rounds(bench, leader=False)


async def sigkill_leader(bench: Bench) -> list[Result]:
    """The same, and the holder of the lease dies in that moment: it is the worker itself."""
    return await _kill_rounds(bench, leader=True)


async def _kill_rounds(bench: Bench, *, leader: bool) -> list[Result]:
    fleet = bench.fleet
    address = await _one_of_two(bench)
    times: list[float] = []
    late: list[float] = []
    lost = executing = 0
    async with steady([address], bench.rate) as load:
        for number in range(bench.rounds):
            victim = await _victim(fleet, leader)
            before = len(load.samples)
            now = asyncio.get_running_loop().time()
            victim.signal(signal.SIGKILL)
            moved = await load.answered(now, seconds=30)
            times.append(moved if moved is not None else 30.0)
            await fleet.until_runs("hello", 1)
            await asyncio.sleep(1.0)
            failed = [each for each in load.samples[before:] if not each.ok]
            lost += len(_lost(failed))
            executing += len(failed) - len(_lost(failed))
            late += [each.ended - each.started for each in failed if each.maybe_executed]
            bench.say(f"round {number + 1}: {victim.labels['name']} killed, answers elsewhere after {times[-1]:.2f} s; "
                      f"failed: {outcomes(failed)}")  # fmt: skip
            await fleet.run_host(victim)
    who = "SIGKILL of the host that holds the lease" if leader else "SIGKILL of a host"
    return [
        reported(f"{who}: component answers elsewhere, p50", percentile(times, 0.5), "s"),
        at_most(f"{who}: component answers elsewhere, p95", percentile(times, 0.95), "s", 3.0),
        at_most(f"{who}: failed calls that were not executing there", lost, "calls", 0),
        reported(f"{who}: failed calls that may have been executing there", executing, "calls"),
        reported(f"{who}: the longest of them waited", max(late, default=0.0), "s"),
    ]


async def _victim(fleet: Fleet, leader: bool) -> HostProcess:
    """The worker that runs the component, which also is the holder of the lease, or is not."""
    async with asyncio.timeout(120):
        while True:
            (runs,) = await fleet.until_runs("hello", 1)
            holder = await fleet.until_held()
            if (runs == holder) is leader:
                return fleet.hosts[runs]
            # A clean stop gives the lease to somebody else, and its component to the other worker.
            await _restart_cleanly(fleet, fleet.hosts[holder])


async def _restart_cleanly(fleet: Fleet, host: HostProcess) -> None:
    assert host.process is not None
    host.signal(signal.SIGTERM)
    await host.process.wait()
    await fleet.run_host(host)


Scenario = Callable[[Bench], Awaitable[list[Result]]]
SCENARIOS: dict[str, Scenario] = {"sigkill": sigkill, "sigkill-leader": sigkill_leader}
