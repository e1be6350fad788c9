"""A host dies under load: until its component answers elsewhere, and what becomes of the calls."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks.result import Result
from tests.faults.fleet import Fleet
from tests.faults.network import Network
from tests.faults.scenarios import SCENARIOS, Bench

__all__ = ["measure"]

ROUNDS, RATE = 5, 100.0


async def measure() -> list[Result]:
    """SIGKILL of the worker that runs the component, and of one that holds the lease besides; all on loopback."""
    return [result for name in ("sigkill", "sigkill-leader") for result in await run(name)]


async def run(name: str) -> list[Result]:
    """One scenario of the fault campaign, without namespaces."""
    with tempfile.TemporaryDirectory(prefix="trellis-failover-", ignore_cleanup_errors=True) as folder:
        async with Network(False) as network, Fleet(network, Path(folder)) as fleet:
            return await SCENARIOS[name](Bench(fleet, ROUNDS, RATE, _say))


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)
