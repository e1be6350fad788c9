"""`python -m benchmarks [NAME...]`: runs them, prints a table, writes benchmarks/results.json.

Ends with 1 if a bound is not met. A benchmark is a module with `async def measure() -> list[Result]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.result import Result

NAMES = (
    "engine_floor",
    "http_engine",
    "http_stack",
    "invocation_floor",
    "component_call",
    "waiting",
    "restart",
    "failover",
    "drain",
    "idle_traffic",
    "hundred_hosts",
    "planner_scale",
    "demo",
)
OUTPUT = Path(__file__).with_name("results.json")


def _table(results: Sequence[Result]) -> str:
    rows = [("", "what", "value", "unit", "bound")]
    rows += [
        ("" if not r.bound else "ok" if r.ok else "NO", r.name, f"{r.as_json()['value']:g}", r.unit, r.bound)
        for r in results
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i == 2 else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main(names: Sequence[str]) -> int:
    """Run the named benchmarks, or all. Only a whole run writes results.json."""
    if unknown := [name for name in names if name not in NAMES]:
        print(f"no such benchmark: {', '.join(unknown)} (there are: {', '.join(NAMES)})", file=sys.stderr)
        return 2
    results: list[Result] = []
    for name in names or NAMES:
        print(f"{name} …", file=sys.stderr, flush=True)
        results += asyncio.run(import_module(f"benchmarks.{name}").measure())
    print(_table(results))
    if not names:
        OUTPUT.write_text(json.dumps([result.as_json() for result in results], indent=2, ensure_ascii=False) + "\n")
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
