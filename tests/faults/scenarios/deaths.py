"""Processes that die, freeze, or leave."""

from __future__ import annotations

import asyncio
import signal

from benchmarks.result import Result, at_most, percentile, reported
from tests.faults.fleet import Fleet, HostProcess
from tests.faults.load import Sample, lost, outcomes, steady
from tests.faults.scenarios.setting import (
    PATIENCE,
    Bench,
    everywhere,
    moment,
    move_lease,
    one_of_two,
    stopped_failing,
)

__all__ = ["lease_move", "sigkill", "sigkill_leader", "sigstop"]


async def sigkill(bench: Bench) -> list[Result]:
    """A worker dies while it serves; its component is to answer on the other one."""
    return await _kill_rounds(bench, leader=False)


async def sigkill_leader(bench: Bench) -> list[Result]:
    """The same, and that worker holds the lease."""
    return await _kill_rounds(bench, leader=True)


async def _kill_rounds(bench: Bench, *, leader: bool) -> list[Result]:
    fleet = bench.fleet
    address = await one_of_two(bench)
    times: list[float] = []
    late: list[float] = []
    not_started = executing = 0
    async with steady([address], bench.rate) as load:
        for number in range(bench.rounds):
            victim = await _victim(fleet, leader)
            await load.healthy()
            before, now = len(load.samples), moment()
            victim.signal(signal.SIGKILL)
            moved = await load.answered(now, seconds=PATIENCE)
            times.append(PATIENCE if moved is None else moved)
            await fleet.until_runs("hello", 1)
            await load.healthy()
            failed = [each for each in load.samples[before:] if not each.ok]
            not_started += len(lost(failed))
            executing += len(failed) - len(lost(failed))
            late += [each.ended - now for each in failed if each.maybe_executed]
            bench.say(f"round {number + 1}: {victim.labels['name']} killed, answers elsewhere after {times[-1]:.2f} s; "
                      f"failed: {outcomes(failed)}")  # fmt: skip
            await fleet.run_host(victim)
    what = "SIGKILL of the lease's holder" if leader else "SIGKILL"
    return [
        reported(f"{what}: component answers elsewhere, p50", percentile(times, 0.5), "s"),
        at_most(f"{what}: component answers elsewhere, p95", percentile(times, 0.95), "s", 3.0),
        at_most(f"{what}: failed calls that were not executing there", not_started, "calls", 0),
        reported(f"{what}: failed calls that may have been executing there", executing, "calls"),
        reported(f"{what}: the last of them failed after", max(late, default=0.0), "s"),
    ]


async def _victim(fleet: Fleet, leader: bool) -> HostProcess:
    """The worker that runs the component, once it also holds the lease, or does not."""
    async with asyncio.timeout(120):
        while True:
            (runs,) = await fleet.until_runs("hello", 1)
            holder = await fleet.until_held()
            if (runs == holder) is leader:
                return fleet.hosts[runs]
            await move_lease(fleet, fleet.hosts[holder])


async def sigstop(bench: Bench) -> list[Result]:
    """A worker freezes, and comes back to life."""

    async def freeze(host: HostProcess) -> None:
        host.signal(signal.SIGSTOP)

    async def thaw(host: HostProcess) -> None:
        host.signal(signal.SIGCONT)

    address = await everywhere(bench)
    workers = [host for host in bench.fleet.hosts.values() if host.labels["role"] == "worker"]
    async with steady([address], bench.rate) as load:
        return await stopped_failing(bench, "SIGSTOP", load, workers, freeze, thaw)


async def lease_move(bench: Bench) -> list[Result]:
    """The holder of the lease leaves, or dies, and has nothing to do with the requests: they are not to notice."""
    fleet = bench.fleet
    address = await one_of_two(bench)
    for name in ("s1", "s2"):
        await fleet.start_host(name, role="spare")
    pauses: list[float] = []
    noticed: list[Sample] = []
    async with steady([address], bench.rate) as load:
        for number in range(bench.rounds):
            async with asyncio.timeout(120):
                while (holder := await fleet.until_held()) not in ("s1", "s2"):
                    await move_lease(fleet, fleet.hosts[holder])
            await load.healthy()
            # Only from here on: what it took to get the lease where it is does not count.
            before, now = len(load.samples), moment()
            fleet.hosts[holder].signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
            await fleet.until_held(by_other_than=holder)
            pauses.append(moment() - now)
            await fleet.gone(fleet.hosts[holder])
            await load.healthy()
            noticed += load.samples[before:]
            bench.say(f"round {number + 1}: {holder} {'left' if number % 2 else 'killed'}, "
                      f"the lease is held again after {pauses[-1]:.2f} s")  # fmt: skip
            await fleet.run_host(fleet.hosts[holder])
    failed = [each for each in noticed if not each.ok]
    return [
        reported("lease moves: held again, p95", percentile(pauses, 0.95), "s"),
        at_most(f"lease moves: failed of {len(noticed)} requests", len(failed), "requests", 0),
        reported("lease moves: slowest request", max((e.ended - e.started for e in noticed), default=0.0), "s"),
    ]
