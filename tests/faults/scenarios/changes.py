"""What an operator does while requests go on: hosts that leave, and new images."""

from __future__ import annotations

import shutil

from benchmarks.result import Result, at_most, percentile, reported
from tests.faults.load import Load, outcomes, steady
from tests.faults.manifests import IMAGE, hello
from tests.faults.scenarios.setting import Bench, everywhere, moment, one_of_two

__all__ = ["drain", "sigterm", "update"]

RATE = 200.0
"""Requests per second, whatever the campaign's rate is."""


async def sigterm(bench: Bench) -> list[Result]:
    """The worker that runs the component is asked to end."""
    fleet = bench.fleet
    address = await one_of_two(bench)
    times: list[float] = []
    async with steady([address], RATE) as load:
        await load.healthy()
        since = moment()
        for _ in range(bench.rounds):
            (runs,) = await fleet.until_runs("hello", 1)
            now = moment()
            await fleet.stop_host(fleet.hosts[runs])
            times.append(moment() - now)
            await fleet.run_host(fleet.hosts[runs])
            await load.healthy()
    return _results(bench, "SIGTERM of a host", load, since, times)


async def drain(bench: Bench) -> list[Result]:
    """The worker that runs the component is drained by command, and taken into use again."""
    fleet = bench.fleet
    address = await one_of_two(bench)
    times: list[float] = []
    async with steady([address], RATE) as load:
        await load.healthy()
        since = moment()
        for _ in range(bench.rounds):
            (runs,) = await fleet.until_runs("hello", 1)
            now = moment()
            await fleet.trellis("drain", fleet.hosts[runs].id, "--timeout", "30s")
            times.append(moment() - now)
            assert runs not in await fleet.runs("hello")
            await fleet.trellis("uncordon", fleet.hosts[runs].id)
            await load.healthy()
    return _results(bench, "drain of a host", load, since, times)


async def update(bench: Bench) -> list[Result]:
    """Another image of the component on three hosts, again and again."""
    fleet = bench.fleet
    address = await everywhere(bench)
    times: list[float] = []
    async with steady([address], RATE) as load:
        await load.healthy()
        since = moment()
        for number in range(bench.rounds):
            image = fleet.folder / f"hello-{number + 2}.wasm"
            shutil.copyfile(IMAGE.removeprefix("file://"), image)
            now = moment()
            await fleet.deploy("greet", hello(address[1], everywhere=True, image=image.as_uri(), version=f"v{number}"))
            await fleet.until_image("hello", image.as_uri(), on=3)
            times.append(moment() - now)
            await load.healthy()
    return _results(bench, "rolling update of a component on three hosts", load, since, times)


def _results(bench: Bench, what: str, load: Load, since: float, times: list[float]) -> list[Result]:
    failed = load.failures(since)
    total = len(load.after(since))
    bench.say(f"{what}: failed: {outcomes(failed)} of {total}")
    return [
        at_most(f"{what} under {RATE:g} requests/s: failed of {total} requests", len(failed), "requests", 0),
        reported(f"{what}: took, p50", percentile(times, 0.5), "s"),
    ]
