"""A NATS cluster of three that loses one of its servers."""

from __future__ import annotations

import asyncio
import json
import signal

from benchmarks.result import Result, at_most, percentile, reported
from tests.faults.load import outcomes, steady
from tests.faults.manifests import INSTANCES, hello
from tests.faults.scenarios.setting import PATIENCE, Bench, everywhere, moment, restart_cleanly
from tests.fixtures.lattice import CommandFailed

__all__ = ["minority", "nats_node"]

_SPELL = 8.0
"""Seconds for which a part of the cluster is alone."""
_ELECTION = 9.0
"""Seconds that JetStream may take to choose its leaders anew once all servers are back; nothing is decided before."""


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


async def minority(bench: Bench) -> list[Result]:
    """One server of the cluster loses the other two, and a host has only that one: NATS is there, but JetStream decides
    nothing and nobody else is heard. The host goes on serving; afterwards exactly what is desired runs, once."""
    fleet, port = bench.fleet, bench.port()
    await fleet.start_nats(3)
    alone, *rest = fleet.nodes
    others = ",".join(node.url for node in rest)
    routes = " ".join(["ip saddr {", ", ".join(node.machine.address for node in rest), "}"])
    island = await fleet.start_host("island", role="worker", nats_url=alone.url)
    await fleet.deploy("greet", hello(port, edge={"name": "island"}))
    await fleet.start_host("w2", role="worker", nats_url=others)
    await fleet.start_host("s1", role="spare", nats_url=others)
    failed = 0
    returns: list[float] = []
    for number in range(bench.rounds):
        while "island" not in await fleet.runs("hello"):
            await restart_cleanly(fleet, fleet.hosts["w2"])
        load = await fleet.spawn_load(island.machine, port, bench.rate, _SPELL)
        await asyncio.sleep(1.0)
        await alone.machine.drop(incoming=routes, outgoing=routes.replace("saddr", "daddr"))
        output, _ = await load.communicate()
        told = json.loads(output)
        failed += told["failed"]
        moved = await fleet.reached_through(rest, "hello")
        back = moment()
        await alone.machine.pass_all()
        await fleet.until_instances("hello", INSTANCES, of=["island", "w2"])
        returns.append(moment() - back)
        found = await fleet.inventory(island)
        says = found.cut_off if found is not None else None
        bench.say(
            f"round {number + 1}: {told['failed']} of {told['requests']} requests failed meanwhile ({told['how']}); "
            f"elsewhere: {', '.join(moved) or 'nowhere'}; all as desired, once, "
            f"after {returns[-1]:.2f} s; it says: {says}"
        )
    return [
        at_most("host on the lesser part of a cluster: failed requests to what runs there", failed, "requests", 0),
        reported("host on the lesser part: exactly what is desired runs, p50", percentile(returns, 0.5), "s"),
        at_most("host on the lesser part: exactly what is desired runs, p95", percentile(returns, 0.95), "s",
                _ELECTION + 3.0),
    ]  # fmt: skip
