"""The planner at the size of a large lattice: from nothing, with nothing left to do, and after the loss of a host.

1,000 hosts in four zones, 200 applications of four components and two providers each, with links, configs and ports:
10,000 placements. The planner runs alone in a fresh process, whose peak memory counts, this description included.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.result import Result, at_most, reported

__all__ = ["measure"]

HOSTS, APPLICATIONS, PLACEMENTS = 1000, 200, 10_000
SECONDS, MEGABYTES, ROUNDS = 1.0, 500.0, 5
_ROOT = Path(__file__).parents[1]
_ZONES = ("a", "b", "c", "d")


async def measure() -> list[Result]:
    """Medians of some plans on equal worlds."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.planner_scale", cwd=_ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError(f"the planner's process ended with {child.returncode}")
    found = json.loads(out)
    what = f"plan for {HOSTS:,} hosts, {APPLICATIONS} applications, {found['placements']:,} placements"
    return [
        at_most(f"{what}, from nothing", found["fresh"], "s", SECONDS),
        at_most(f"{what}, nothing to do", found["steady"], "s", SECONDS),
        at_most(f"{what}, one host lost", found["lost"], "s", SECONDS),
        at_most(f"{what}, memory at most", found["peak"] / 1e6, "MB", MEGABYTES),
        reported(f"{what}, passes until nothing is left", found["passes"], ""),
    ]


def _application(number: int) -> dict[str, Any]:
    from tests.wadm.manifests import application, component, group, http, link, provider, spread

    zones = [group(zone, weight, zone=zone) for zone, weight in zip(_ZONES, (40, 30, 20, 10), strict=True)]
    traits = (spread(11, *zones), spread(11), spread(11, *zones[:2]), spread(11))
    parts = [
        component(f"c{i}", trait, link("kv", to={f"bucket{i}": {"bucket": f"b{i}"}}), image=f"registry/{number}/{i}:1")
        for i, trait in enumerate(traits)
    ]
    front = provider("http", spread(2, group("front", zone="a")), http("c0", f"0.0.0.0:{10_000 + number}"))
    return application(f"app{number:03}", *parts, provider("kv", spread(4)), front)


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    samples, found = [], None
    for _ in range(ROUNDS):
        found = None
        started = time.perf_counter()
        found = function()
        samples.append(time.perf_counter() - started)
    return median(samples), found


def _main() -> None:
    from tests.wadm.manifests import manifest
    from tests.wadm.simulation import World, host
    from trellis_wadm.planner import desired_of, plan

    desired = desired_of([manifest(_application(number)) for number in range(APPLICATIONS)])
    world = World.of(*[host(f"H{i:04}", zone=_ZONES[i % 4]) for i in range(HOSTS)])
    observed = world.observed()
    fresh, found = _timed(lambda: plan(desired, observed, 100.0))
    placements = sum(len(placement.placed) for placement in found.placements)
    assert placements == PLACEMENTS, placements
    passes = 0
    while found.commands:
        world.owned = found.owned
        world.apply_all(found.commands)
        found = world.plan(desired)
        passes += 1
    arrived = world.observed()
    steady, found = _timed(lambda: plan(desired, arrived, 100.0))
    assert not found.commands
    world.hosts["H0000"] = replace(world.hosts["H0000"], live=False)
    broken = world.observed()
    lost, found = _timed(lambda: plan(desired, broken, 100.0))
    assert found.changes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    numbers = {"fresh": fresh, "steady": steady, "lost": lost, "peak": peak, "passes": passes, "placements": placements}
    print(json.dumps(numbers))


if __name__ == "__main__":
    _main()
