"""What all scenarios share: the fleets they break, and how they tell what they see."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.result import Result, at_most, percentile, reported
from tests.faults.fleet import Fleet, HostProcess
from tests.faults.load import Load, Sample, lost, outcomes
from tests.faults.manifests import hello
from tests.fixtures.lattice import free_port

__all__ = [
    "PATIENCE",
    "Bench",
    "Scenario",
    "everywhere",
    "moment",
    "move_lease",
    "one_of_two",
    "restart_cleanly",
    "stopped_failing",
]

PATIENCE = 30.0
"""Seconds after which something has not happened."""


@dataclass(slots=True)
class Bench:
    """What a scenario gets: a fleet to break, how many rounds, requests per second, and where to tell what it does."""

    fleet: Fleet
    rounds: int
    rate: float
    say: Callable[[str], None]

    def port(self) -> int:
        return 8000 if self.fleet.network.real else free_port()


Scenario = Callable[[Bench], Awaitable[list[Result]]]


def moment() -> float:
    return asyncio.get_running_loop().time()


async def one_of_two(bench: Bench, *, nodes: int = 1) -> tuple[str, int]:
    """An edge that listens, and two workers of which one runs the component. The edge's address."""
    fleet, port = bench.fleet, bench.port()
    await fleet.start_nats(nodes)
    await fleet.start_host("w1", role="worker")
    edge = await fleet.start_host("edge", role="edge")
    await fleet.deploy("greet", hello(port))
    await fleet.start_host("w2", role="worker")
    return edge.machine.address, port


async def everywhere(bench: Bench, *, workers: int = 3, nodes: int = 1) -> tuple[str, int]:
    """An edge that listens, and workers that all run the component. The edge's address."""
    fleet, port = bench.fleet, bench.port()
    await fleet.start_nats(nodes)
    edge = await fleet.start_host("edge", role="edge")
    for number in range(workers):
        await fleet.start_host(f"w{number + 1}", role="worker")
    await fleet.deploy("greet", hello(port, everywhere=True))
    await fleet.until_runs("hello", workers)
    return edge.machine.address, port


async def restart_cleanly(fleet: Fleet, host: HostProcess) -> None:
    """SIGTERM, and the same host again."""
    await fleet.stop_host(host)
    await fleet.run_host(host)


async def move_lease(fleet: Fleet, holder: HostProcess) -> None:
    """Makes another host lead: a worker leaves and comes back; the edge, whose work nobody else may do, rests."""
    if holder.labels["role"] != "edge":
        await restart_cleanly(fleet, holder)
        return
    holder.signal(signal.SIGSTOP)
    try:
        await fleet.until_held(by_other_than=holder.labels["name"])
    finally:
        holder.signal(signal.SIGCONT)


async def stopped_failing(
    bench: Bench,
    what: str,
    load: Load,
    victims: Sequence[HostProcess],
    break_it: Callable[[HostProcess], Awaitable[None]],
    mend_it: Callable[[HostProcess], Awaitable[None]],
) -> list[Result]:
    """Breaks one victim after the other, mends it, and measures: until no call fails, and until it is as before."""
    times: list[float] = []
    returns: list[float] = []
    failed: list[Sample] = []
    whole = len(await bench.fleet.runs("hello"))
    for number in range(bench.rounds):
        victim = victims[number % len(victims)]
        await load.healthy()
        before, now = len(load.samples), moment()
        await break_it(victim)
        quiet = await load.quiet(now, of=4.0, within=PATIENCE)
        times.append(PATIENCE if quiet is None else quiet)
        bad = [each for each in load.samples[before:] if not each.ok]
        failed += bad
        back = moment()
        await mend_it(victim)
        await bench.fleet.until_runs("hello", whole)
        returns.append(moment() - back)
        bench.say(
            f"round {number + 1}: {victim.labels['name']}: {what}; failing for {times[-1]:.2f} s "
            f"({outcomes(bad)} of {len(load.after(now))}); as before {returns[-1]:.2f} s after its return"
        )
    return [
        reported(f"{what}: calls stop failing, p50", percentile(times, 0.5), "s"),
        at_most(f"{what}: calls stop failing, p95", percentile(times, 0.95), "s", 5.0),
        reported(f"{what}: failed calls", len(failed), "calls"),
        reported(f"{what}: of these certainly not executed", len(lost(failed)), "calls"),
        at_most(f"{what}: all runs as before after its return, p95", percentile(returns, 0.95), "s", 3.0),
    ]
