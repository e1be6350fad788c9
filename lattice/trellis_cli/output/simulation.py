"""What a simulation found: figures, violations, and how to see each again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from trellis_cli.output.style import clean
from trellis_cli.output.table import align

__all__ = ["ResultLike", "simulation_data", "simulation_text"]


class ResultLike(Protocol):
    """What is shown of one run. Times are virtual seconds."""

    @property
    def seed(self) -> int: ...
    @property
    def violated(self) -> str | None: ...
    @property
    def text(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def faults(self) -> int: ...
    @property
    def commands(self) -> Mapping[str, int]: ...
    @property
    def worst_failover(self) -> float: ...
    @property
    def failovers(self) -> int: ...
    @property
    def trace(self) -> tuple[str, ...]: ...


def simulation_data(
    results: Sequence[ResultLike], hosts: int, duration: float, notes: Sequence[str], replay: str, *, shown: int
) -> dict[str, Any]:
    """The `-o json` form; `replay` is the command that repeats a run, up to its seed; `shown` bounds the violations."""
    violations = [result for result in results if result.violated is not None]
    commands: Counter[str] = Counter()
    for result in results:
        commands.update(result.commands)
    worst = max(results, key=lambda result: result.worst_failover)
    return {
        "hosts": hosts,
        "duration": duration,
        "runs": len(results),
        "seed": results[0].seed,
        "faults": sum(result.faults for result in results),
        "commands": dict(sorted(commands.items())),
        "failovers": sum(result.failovers for result in results),
        "worst_failover": round(worst.worst_failover, 3),
        "worst_failover_seed": worst.seed,
        "held": not violations,
        "violated": len(violations),
        "violations": [
            {
                "seed": result.seed,
                "property": result.violated,
                "text": result.text,
                "at": round(result.at, 3),
                "replay": f"{replay} --seed {result.seed}",
                "trace": list(result.trace),
            }
            for result in violations[:shown]
        ],
        "notes": list(notes),
    }


def simulation_text(data: Mapping[str, Any]) -> str:
    """For people."""
    several = data["runs"] > 1
    runs = f"{data['runs']} runs, seeds {data['seed']} to {data['seed'] + data['runs'] - 1}" if several else ""
    commands = ", ".join(f"{count} {name}" for name, count in data["commands"].items()) or "none"
    worst = f"{data['worst_failover']:.2f} s, of {data['failovers']}" if data["failovers"] else "nothing had to move"
    if several and data["failovers"]:
        worst += f" (seed {data['worst_failover_seed']})"
    rows = [
        ("simulated", f"{data['hosts']} hosts for {data['duration']:g} s, {runs or 'seed ' + str(data['seed'])}"),
        ("faults", str(data["faults"])),
        ("commands", commands),
        ("worst failover", worst),
    ]
    parts = [align(rows)]
    parts += [f"note: {clean(note)}\n" for note in data["notes"]]
    for violation in data["violations"]:
        parts.append(_violation_text(violation))
    hidden = data["violated"] - len(data["violations"])
    if hidden:
        parts.append(f"{hidden} more runs violated a property.\n")
    if data["held"]:
        parts.append("Every property held.\n")
    return "".join(parts)


def _violation_text(violation: Mapping[str, Any]) -> str:
    lines = "".join(f"  {clean(line)}\n" for line in violation["trace"])
    head = f"violated: {violation['property']}, seed {violation['seed']}, at {violation['at']:.2f} s"
    return f"\n{head}\n  {clean(violation['text'])}\nlast events:\n{lines}replay: {clean(violation['replay'])}\n"
