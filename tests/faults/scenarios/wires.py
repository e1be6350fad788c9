"""Networks that break: cut, in one direction, lossy, narrow, slow, half open."""

from __future__ import annotations

import asyncio
import json

from benchmarks.result import Result, at_most, percentile, reported
from tests.faults.fleet import HostProcess
from tests.faults.load import outcomes, steady
from tests.faults.manifests import INSTANCES, hello
from tests.faults.proxy import Proxy
from tests.faults.scenarios.setting import Bench, everywhere, moment, one_of_two, restart_cleanly, stopped_failing

__all__ = ["cut_off", "half_open", "loss", "one_way", "partition", "throttle"]

_SPELL = 10.0
"""Seconds for which a network is bad."""


def _workers(bench: Bench) -> list[HostProcess]:
    return [host for host in bench.fleet.hosts.values() if host.labels["role"] == "worker"]


async def partition(bench: Bench) -> list[Result]:
    """A worker's cable is pulled: nobody gets a word, and no connection is closed."""
    address = await everywhere(bench)
    async with steady([address], bench.rate) as load:
        return await stopped_failing(
            bench, "partition", load, _workers(bench), lambda host: host.machine.cut(), lambda host: host.machine.mend()
        )


async def one_way(bench: Bench) -> list[Result]:
    """What a worker sends is lost; or what is sent to it."""
    address = await everywhere(bench)
    deaf: dict[str, bool] = {}

    async def drop(host: HostProcess) -> None:
        deaf[host.id] = not deaf.get(host.id, False)
        await host.machine.drop(
            **({"incoming": "meta l4proto tcp"} if deaf[host.id] else {"outgoing": "meta l4proto tcp"})
        )

    async with steady([address], bench.rate) as load:
        return await stopped_failing(
            bench, "one direction dropped", load, _workers(bench)[:1], drop, lambda host: host.machine.pass_all()
        )


async def cut_off(bench: Bench) -> list[Result]:
    """A host that is cut off goes on serving what it has; after its return exactly what is desired runs, once."""
    fleet = bench.fleet
    await fleet.start_nats()
    port = bench.port()
    island = await fleet.start_host("island", role="worker", also="edge")
    await fleet.deploy("greet", hello(port, edge={"name": "island"}))
    await fleet.start_host("w2", role="worker")
    refused = 0
    returns: list[float] = []
    for number in range(bench.rounds):
        while "island" not in await fleet.runs("hello"):
            await restart_cleanly(fleet, fleet.hosts["w2"])
        load = await fleet.spawn_load(island.machine, port, bench.rate, _SPELL)
        await asyncio.sleep(1.0)
        await island.machine.cut()
        output, _ = await load.communicate()
        told = json.loads(output)
        refused += told["failed"]
        await fleet.until_instances("hello", INSTANCES)  # on the hosts that are left
        back = moment()
        await island.machine.mend()
        await fleet.until_instances("hello", INSTANCES, of=["island"])
        returns.append(moment() - back)
        found = await fleet.inventory(island)
        bench.say(f"round {number + 1}: while cut off {told['failed']} of {told['requests']} requests failed "
                  f"({told['how']}); as desired, once, after {returns[-1]:.2f} s; "
                  f"it says: {found.cut_off if found is not None else None}")  # fmt: skip
    return [
        at_most("cut off: failed requests to what runs there", refused, "requests", 0),
        at_most("cut off: exactly what is desired runs after its return, p95", percentile(returns, 0.95), "s", 3.0),
    ]


async def loss(bench: Bench) -> list[Result]:
    """A network that loses packets: nothing fails, and nothing is moved."""
    return await _bad_spell(bench, "3 % packet loss both ways", "loss")


async def throttle(bench: Bench) -> list[Result]:
    """A worker behind a narrow wire."""
    return await _bad_spell(bench, "512 kbit/s", "throttle")


async def _bad_spell(bench: Bench, what: str, kind: str) -> list[Result]:
    fleet = bench.fleet
    address = await one_of_two(bench)
    (runs,) = await fleet.until_runs("hello", 1)
    machine = fleet.hosts[runs].machine
    rate = min(bench.rate, 50.0)
    async with steady([address], rate) as load:
        await load.healthy()
        now = moment()
        if kind == "loss":
            await machine.drop(incoming="numgen random mod 100 < 3", outgoing="numgen random mod 100 < 3")
        else:
            await machine.throttle("512kbit")
        await asyncio.sleep(_SPELL)
        await (machine.pass_all() if kind == "loss" else machine.unthrottle())
        await load.healthy()
        moved = await fleet.until_runs("hello", 1) != [runs]
    failed = load.failures(now)
    times = [each.ended - each.started for each in load.after(now) if each.ok]
    bench.say(f"{what}: failed: {outcomes(failed)} of {len(load.after(now))}")
    return [
        at_most(f"{what}: failed requests", len(failed), "requests", 0),
        reported(f"{what}: slowest request", max(times, default=0.0), "s"),
        at_most(f"{what}: components moved", int(moved), "", 0),
    ]


async def half_open(bench: Bench) -> list[Result]:
    """A worker reaches NATS through a proxy that is slow, and then passes nothing on but keeps connections open."""
    fleet = bench.fleet
    port = bench.port()
    await fleet.start_nats()
    edge = await fleet.start_host("edge", role="edge")
    await fleet.start_host("w1", role="worker")
    async with Proxy(fleet.gateway, (fleet.nodes[0].machine.address, fleet.nodes[0].port)) as proxy:
        await fleet.start_host("w2", role="worker", nats_url=proxy.url)
        await fleet.deploy("greet", hello(port, everywhere=True))
        async with steady([(edge.machine.address, port)], bench.rate) as load:
            await load.healthy()
            proxy.delay, now = 0.1, moment()
            await asyncio.sleep(5.0)
            proxy.delay = 0.0
            slow = load.failures(now)
            bench.say(f"100 ms more each way: failed: {outcomes(slow)} of {len(load.after(now))}")

            async def hold(host: HostProcess) -> None:
                proxy.holding.clear()

            async def let_go(host: HostProcess) -> None:
                proxy.holding.set()

            results = await stopped_failing(bench, "half-open connection", load, [fleet.hosts["w2"]], hold, let_go)
    return [at_most("100 ms more each way: failed requests", len(slow), "requests", 0), *results]
