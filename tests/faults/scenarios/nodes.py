"""A NATS cluster of three that loses one of its servers."""

from __future__ import annotations

import asyncio
import signal

from benchmarks.result import Result, at_most, percentile, reported
from tests.faults.load import outcomes, steady
from tests.faults.scenarios.setting import PATIENCE, Bench, everywhere, moment
from tests.fixtures.lattice import CommandFailed

__all__ = ["nats_node"]


async def nats_node(bench: Bench) -> list[Result]:
    """One server after the other is killed and comes back: the state is there, and requests go on."""
    fleet = bench.fleet
    address = await everywhere(bench, nodes=3)
    times: list[float] = []
    failed = total = 0
    state = 0
    async with steady([address], bench.rate) as load:
        for number in range(bench.rounds):
            node = fleet.nodes[number % len(fleet.nodes)]
            await load.healthy()
            before, now = len(load.samples), moment()
            assert node.process is not None
            node.process.send_signal(signal.SIGKILL)
            await node.process.wait()
            quiet = await load.quiet(now, of=3.0, within=PATIENCE)
            times.append(PATIENCE if quiet is None else quiet)
            bad = [each for each in load.samples[before:] if not each.ok]
            failed, total = failed + len(bad), total + len(load.after(now))
            try:
                listed = await fleet.applications()
            except CommandFailed as error:
                listed = [f"not told ({error.errors.strip() or error.output.strip()})"]
            state += listed == ["greet"]
            bench.say(f"round {number + 1}: {node.machine.name} killed; failing for {times[-1]:.2f} s "
                      f"({outcomes(bad)}); applications: {', '.join(listed) or 'none'}")  # fmt: skip
            await fleet.run_node(node)
            await fleet.cluster_whole()
            await asyncio.sleep(1.0)
    return [
        at_most("NATS node killed: calls stop failing, p95", percentile(times, 0.95), "s", 5.0),
        reported(f"NATS node killed: failed requests of {total}", failed, "requests"),
        at_most("NATS node killed: rounds in which state was missing", bench.rounds - state, "rounds", 0),
    ]
