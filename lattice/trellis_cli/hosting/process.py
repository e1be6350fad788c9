"""The process around a host: its event loop, its signals, its supervisor, its end.

The laws of this file: faulthandler is on before the engine is made, because enabled later it would take the
engine's signal handlers away; the first SIGTERM, SIGINT or the supervisor's end drains the host, within a bound
that the kernel enforces; the second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from trellis_cli.exits import ExitCode
from trellis_cli.hosting.logs import start_logging
from trellis_cli.hosting.options import HostOptions
from trellis_cli.up.channel import SupervisorChannel

__all__ = ["run_host"]

_log = logging.getLogger("trellis.host")

_COLLECTION = (20_000, 20, 20)
"""When Python looks for cycles. A request makes few, all small; with the defaults the search took 5 % of its time."""
_HARD_END = 5.0
"""Seconds after the time for draining until the kernel ends the process, even if its event loop hangs."""


def run_host(options: HostOptions) -> ExitCode:
    """Runs the host until it is told to leave. Raises what keeps it from starting."""
    faulthandler.enable()
    start_logging()
    import uvloop

    gc.set_threshold(*_COLLECTION)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_main(options))


async def _main(options: HostOptions) -> ExitCode:
    from trellis_cli.hosting.compose import serve

    channel = SupervisorChannel(options.supervisor_fd) if options.supervisor_fd is not None else None
    departure = _Departure(options.drain_grace)
    watching = asyncio.create_task(departure.watch(channel), name="watch-supervisor")
    try:
        with departure:
            await _until(departure.leave, serve(options, channel, departure.leave), options.drain_grace)
    finally:
        watching.cancel()
        if channel is not None:
            channel.close()
    return ExitCode.INTERRUPTED if departure.reason == "SIGINT" else ExitCode.OK


async def _until(leave: asyncio.Event, work: Coroutine[Any, Any, None], grace: float) -> None:
    """Runs `work`, which ends by itself once `leave` is set; cancels it if that takes longer than `grace` seconds."""
    task = asyncio.create_task(work, name="serve")
    leaving = asyncio.create_task(leave.wait(), name="leave")
    try:
        await asyncio.wait([task, leaving], return_when=asyncio.FIRST_COMPLETED)
        _, late = await asyncio.wait([task], timeout=grace + 1.0)
        if late:
            _log.warning("The host did not drain within %.0f s; it leaves now", grace)
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
    finally:
        leaving.cancel()
    if task.done() and not task.cancelled():
        task.result()


class _Departure:
    """Why and when the host leaves."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self.leave = asyncio.Event()
        self.reason = ""

    def __enter__(self) -> _Departure:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.begin, number.name)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    async def watch(self, channel: SupervisorChannel | None) -> None:
        """Leaves when the supervisor is gone."""
        if channel is not None:
            await channel.gone()
            self.begin("the end of its supervisor")

    def begin(self, reason: str) -> None:
        if self.leave.is_set():
            return
        self.reason = reason
        _log.info("Leaving because of %s", reason)
        self.leave.set()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self._grace + _HARD_END)
