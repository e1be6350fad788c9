"""`trellis down`: ends what `trellis up` recorded in a data directory, and nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trellis_cli.up import record
from trellis_cli.up.record import Process
from trellis_lattice.bus.embedded import stop_recorded
from trellis_lattice.bus.processes import send_signal
from trellis_lattice.errors import DeadlineExceeded

__all__ = ["Ended", "bring_down", "end_processes"]

_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Ended:
    """What `down` found: whether a supervisor ran, and how many processes of a dead one were left."""

    supervisor: bool
    leftovers: int

    @property
    def anything(self) -> bool:
        return self.supervisor or self.leftovers > 0


async def bring_down(data_dir: Path, timeout: float) -> Ended:
    """Asks the supervisor to end everything and waits until it has; ends what a killed supervisor left.

    Idempotent. Raises `DeadlineExceeded` if the supervisor still runs after `timeout` seconds and one last
    request to kill what drains.
    """
    found = record.load(data_dir)
    if found is None:
        return Ended(False, int(await stop_recorded(data_dir / "nats")))
    supervised = found.supervisor.alive
    if supervised:
        await _end_supervisor(found.supervisor, timeout)
    leftovers = await end_processes([host.process for host in found.hosts], grace=5.0)
    leftovers += int(await stop_recorded(data_dir / "nats"))
    if not record.DataDirLock.held(data_dir):
        record.forget(data_dir)
    return Ended(supervised, leftovers)


async def _end_supervisor(supervisor: Process, timeout: float) -> None:
    send_signal(supervisor.pid, supervisor.started, signal.SIGTERM)
    if await _gone([supervisor], timeout):
        return
    send_signal(supervisor.pid, supervisor.started, signal.SIGTERM)  # the second one kills what still drains
    if not await _gone([supervisor], 10.0):
        raise DeadlineExceeded(
            f"`trellis up` (process {supervisor.pid}) did not end within {timeout:.0f} s.",
            remedy="Try again with a longer --timeout.",
        )


async def end_processes(processes: Sequence[Process], grace: float) -> int:
    """Ends those that still run: asks, and after `grace` seconds kills. How many there were."""
    alive = [process for process in processes if process.alive]
    for process in alive:
        send_signal(process.pid, process.started, signal.SIGTERM)
    if not await _gone(alive, grace):
        for process in alive:
            send_signal(process.pid, process.started, signal.SIGKILL)
        await _gone(alive, grace)
    return len(alive)


async def _gone(processes: Sequence[Process], timeout: float) -> bool:
    try:
        async with asyncio.timeout(timeout):
            while any(process.alive for process in processes):  # noqa: ASYNC110 (strangers: nobody tells us)
                await asyncio.sleep(_POLL)
    except TimeoutError:
        return False
    return True
