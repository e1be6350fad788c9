"""`python -m tests.faults [--short] [--loopback] [--rounds N] [--rate N] [SCENARIO...]`: breaks things and measures.

Prints a table of the figures, writes results.json beside this file, and ends with 1 if a bound is not met, with 2
if this machine cannot have network namespaces. `--loopback` needs no root: all hosts on 127.0.0.1, and only the
scenarios that break processes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.result import Result
from tests.faults.figures import OUTPUT, table, write
from tests.faults.fleet import Fleet
from tests.faults.network import Network, enter, why_not
from tests.faults.scenarios import NEEDS_NETWORK, SCENARIOS, SHORT, Bench


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Break machines and networks; measure.")
    parser.add_argument("scenario", nargs="*", choices=[*SCENARIOS, []], help="which ones; default: all")
    parser.add_argument("--short", action="store_true", help="a few rounds of the most telling ones")
    parser.add_argument("--loopback", action="store_true", help="no namespaces: only what breaks processes")
    parser.add_argument("--rounds", type=int, help="how often each thing is broken")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second (default: 100)")
    return parser.parse_args(words)


async def _run(name: str, network: bool, rounds: int, rate: float) -> list[Result]:
    started = time.perf_counter()

    def say(text: str) -> None:
        print(f"  {time.perf_counter() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    print(f"{name} …", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="trellis-faults-", ignore_cleanup_errors=True) as folder:
        async with Network(network) as wires, Fleet(wires, Path(folder)) as fleet:
            return await SCENARIOS[name](Bench(fleet, rounds, rate, say))


def main(words: Sequence[str]) -> int:
    arguments = _arguments(words)
    if not arguments.loopback:
        if (reason := why_not()) is not None:
            print(reason, file=sys.stderr)
            return 2
        enter(words)
    names = arguments.scenario or (SHORT if arguments.short else tuple(SCENARIOS))
    if arguments.loopback:
        names = [name for name in names if name not in NEEDS_NETWORK]
    rounds = arguments.rounds or (2 if arguments.short else 10)
    results: list[Result] = []
    for name in names:
        try:
            results += asyncio.run(_run(name, not arguments.loopback, rounds, arguments.rate))
        except (Exception, asyncio.CancelledError):
            traceback.print_exc()
            results.append(Result(f"{name}: did not come to its end", 1, "", "≤ 0", False))
    print(table(results))
    if not arguments.scenario and not arguments.short:
        write(results)
        print(f"written to {OUTPUT}")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
