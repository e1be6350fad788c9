"""HTTP hello through the whole stack at default settings, against FastAPI on uvicorn; one load generator for both."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

from benchmarks.load import load
from benchmarks.result import Result, at_least, reported
from tests.fixtures.lattice import ROOT, answer, free_port, lattice

__all__ = ["measure"]

ROUNDS, SECONDS, CONNECTIONS = 9, 1.5, 32
BOUND = 0.6


async def measure() -> list[Result]:
    """The median ratio of the rounds, in each of which one follows the other; and both median rates."""
    ours: list[float] = []
    theirs: list[float] = []
    async with lattice() as ours_at, _fastapi() as fastapi_port:
        port = await ours_at.deploy(ROOT / "wadm-manifests" / "hello-c.yaml")
        expected = (await answer(fastapi_port)).body
        if (await answer(port)).body != expected:
            raise RuntimeError("the two answer differently")
        for _ in range(ROUNDS):
            ours.append(await _rate(port))
            theirs.append(await _rate(fastapi_port))
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    return [
        at_least("HTTP hello, whole stack, C, 32 connections", ratio, "× FastAPI on uvicorn", BOUND),
        reported("HTTP hello, whole stack: ours", median(ours), "requests/s"),
        reported("HTTP hello, whole stack: FastAPI on uvicorn", median(theirs), "requests/s"),
    ]


async def _rate(port: int) -> float:
    done = await load(port, connections=CONNECTIONS, seconds=SECONDS, warmup=0.3)
    if done.bad_status or done.failures:
        raise RuntimeError(f"{done.bad_status} answers were not 200, {done.failures} connections failed")
    return done.rate


@asynccontextmanager
async def _fastapi() -> AsyncIterator[int]:
    port = free_port()
    options = ["--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", "benchmarks.fastapi_hello:app", *options, "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        yield port
    finally:
        process.terminate()
        await process.wait()
