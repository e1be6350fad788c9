"""`python -m tests.fuzz.campaign [--seconds N] [DECODER…]`: feeds every decoder for a while, led by coverage (atheris).

Each decoder runs in a process of its own, because the fuzzer ends its process. What it finds stays in
`build/fuzz/`: the corpus, which the next run goes on from, and the input that broke a decoder. Ends with 1 if
one was broken.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).parents[2] / "build" / "fuzz"
MAX_BYTES = 8192
SLOW = 5
"""Seconds that one input may take at most."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Feed the decoders whatever reaches new code in them.")
    parser.add_argument("--seconds", type=int, default=30, help="for each decoder (default: 30)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="DECODER", help="only those whose name contains this")
    options = parser.parse_args(arguments)
    if options.child is not None:
        return _feed(options.child, options.seconds)
    from tests.fuzz.decoders import DECODERS

    names = [d.name for d in DECODERS if not options.names or any(part in d.name for part in options.names)]
    broken = [name for name in names if not _run(name, options.seconds)]
    print(f"{len(names) - len(broken)} of {len(names)} decoders held.", flush=True)
    return 1 if broken or not names else 0


def _run(name: str, seconds: int) -> bool:
    command = [sys.executable, "-m", "tests.fuzz.campaign", "--child", name, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 120)
    runs = re.findall(r"Done (\d+) runs", done.stderr)
    print(f"{'held' if done.returncode == 0 else 'BROKEN':7} {name} ({runs[-1] if runs else '?'} runs)", flush=True)
    if done.returncode != 0:
        print(done.stderr[-4000:], flush=True)
    return done.returncode == 0


def _feed(name: str, seconds: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["trellis_lattice", "trellis_wadm", "trellis_providers", "trellis_host"]):
        from tests.fuzz.decoders import DECODERS
        from trellis_lattice.errors import TrellisError

    decoder = next(each for each in DECODERS if each.name == name)
    corpus = BUILD / re.sub(r"\W+", "-", name)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(decoder.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def feed(data: bytes) -> None:
        try:
            decoder.decode(data)
        except TrellisError:
            return

    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", f"-timeout={SLOW}", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={corpus}-broken-", *limits], feed)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
