"""`make demo` on a fresh clone: from the command to the first answer on port 8000, with packages downloaded before."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.result import Result, at_most
from tests.fixtures.lattice import ROOT, first_ok

__all__ = ["measure"]

SECONDS = 60.0
PORT = 8000


async def measure() -> list[Result]:
    """Clone, let pip download (not counted), remove what it installed, then `make demo` and GET /."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            raise RuntimeError(f"port {PORT} is in use; stop what listens there, the demo needs it")
    with tempfile.TemporaryDirectory(prefix="trellis-demo-") as name:
        clone = Path(name) / "trellis"
        data = {"TRELLIS_DATA_DIR": str(Path(name) / "data"), "PYTHON": sys.executable}
        environment = {**os.environ, **data}
        await _run("git", "clone", "--quiet", str(ROOT), str(clone), environment=environment)
        await _run("make", "-C", str(clone), ".venv/demo.stamp", environment=environment)
        shutil.rmtree(clone / ".venv")
        started = time.perf_counter()
        demo = await asyncio.create_subprocess_exec(
            "make", "-C", str(clone), "demo", env=environment, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        try:
            await first_ok(PORT, seconds=5 * SECONDS, every=0.25)
            seconds = time.perf_counter() - started
            if demo.returncode is not None:
                raise RuntimeError(f"make demo ended with {demo.returncode}; something else answers on port {PORT}")
        finally:
            if demo.returncode is None:
                os.killpg(demo.pid, signal.SIGINT)
            await demo.wait()
    return [at_most("make demo on a fresh clone, until GET / answers 200", seconds, "s", SECONDS)]


async def _run(*command: str, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdin=asyncio.subprocess.DEVNULL)
    if await process.wait():
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
