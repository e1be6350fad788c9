"""A host that runs the Python example dies and is started again: from the start of the process to the first answer."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.result import Result, at_most
from tests.fixtures.lattice import ROOT, first_ok, on_free_port, trellis
from tools.build import build
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings

__all__ = ["measure"]

SECONDS, ROUNDS = 1.5, 5


async def measure() -> list[Result]:
    """The median of some deaths by SIGKILL. NATS keeps running, and the compiled code is in the host's cache."""
    await asyncio.to_thread(build, "kv-counter")
    samples: list[float] = []
    with tempfile.TemporaryDirectory(prefix="trellis-restart-") as name:
        folder = Path(name)
        nats = await EmbeddedNats.start(NatsServerSettings(folder / "nats"), timeout=10.0)
        host = await _start(nats.url, folder)
        try:
            manifest, port = on_free_port(ROOT / "wadm-manifests" / "kv-counter.yaml", folder)
            await trellis("app", "deploy", str(manifest), "--nats-url", nats.url, environment={})
            await first_ok(port)
            for _ in range(ROUNDS):
                host.kill()
                await host.wait()
                started = time.perf_counter()
                host = await _start(nats.url, folder)
                await first_ok(port)
                samples.append(time.perf_counter() - started)
        finally:
            if host.returncode is None:
                host.send_signal(signal.SIGTERM)
            await host.wait()
            await nats.stop()
    what = "host with the Python example, killed and started again, until it serves"
    return [at_most(what, median(samples), "s", SECONDS)]


async def _start(nats_url: str, folder: Path) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "trellis_cli", "host", "run", "--nats-url", nats_url]
    log = os.open(folder / "host.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *command, "--data-dir", str(folder / "host"), cwd=ROOT, stdout=log, stderr=log
        )
    finally:
        os.close(log)
