"""The load generator: `load.c`, compiled once with the C compiler that `ziglang` brings."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.build import BUILD

__all__ = ["Load", "load"]

_SOURCE = Path(__file__).with_name("load.c")


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run. `failures`: connections that broke or made no sense."""

    seconds: float
    answers: int
    bad_status: int
    failures: int
    bytes: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.answers - self.bad_status) / self.seconds


async def load(port: int, path: str = "/", *, connections: int = 32, seconds: float = 5.0, warmup: float = 1.0) -> Load:
    """Keep `connections` busy with GET requests to 127.0.0.1:`port` for `seconds` after `warmup`."""
    program = await asyncio.to_thread(_program)
    arguments = [str(port), path, str(connections), str(seconds), str(warmup)]
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    return Load(**json.loads(output))


def _program() -> Path:
    """The compiled generator."""
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    program = BUILD / f"load-{digest}"
    if not program.exists():
        BUILD.mkdir(exist_ok=True)
        fresh = program.with_suffix(f".{os.getpid()}")
        command = [sys.executable, "-m", "ziglang", "cc", "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(_SOURCE)]
        subprocess.run(command, check=True)
        fresh.replace(program)
    return program
