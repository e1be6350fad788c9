"""`python -m trellis_sim [RUNS] [FIRST_SEED]`: a campaign of random mixtures, for `make sim`."""

from __future__ import annotations

import sys
import time

from trellis_sim.campaign import campaign, scenario_of
from trellis_sim.simulation import Result, simulate

_RUNS = 1000


def main(arguments: list[str]) -> int:
    """1 if a property was violated."""
    runs = int(arguments[0]) if arguments else _RUNS
    first = int(arguments[1]) if len(arguments) > 1 else 0
    began = time.monotonic()
    violated: list[Result] = []
    for result in campaign(range(first, first + runs)):
        if not result.held:
            violated.append(result)
            _say(f"seed {result.seed} violates {result.violated} at {result.at:.2f} s: {result.text}")
    seconds = time.monotonic() - began
    _say(f"{runs} runs of 60 virtual seconds in {seconds:.1f} s; {len(violated)} violated a property.")
    for result in violated[:1]:
        again = simulate(scenario_of(result.seed), result.seed)
        _say("\n".join([f"The last events of seed {again.seed}:", *again.trace[-60:]]))
        _say(f"Again: python -m trellis_sim 1 {again.seed}")
    return 1 if violated else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
