"""The clock that makes running components yield: one thread that advances the epoch of all engines of a host.

A poll that goes on for a tick meets the next epoch; polls that are shorter, which are nearly all, put the alarm off
and never meet one. So a host that is busy with short calls has no ticks at all: each would cost it two changes of
thread, which at one every 2 ms is several percent of a core. Nothing ticks while no component runs.

The thread touches nothing but the epoch counter and the alarm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from trellis_host.engine.alarm import make_alarm

__all__ = ["Ticker"]

_TICKS_AFTER_POLL = 4
"""Epochs after the last poll began, before the thread parks: one more than any component needs to give way."""


class Ticker:
    """Call `polling` before each poll."""

    def __init__(self, advance: Sequence[Callable[[], None]], tick: float) -> None:
        self.parked = True
        """Whether no epoch will come before the next poll."""
        self._advance = advance
        self._tick = tick
        self._alarm = make_alarm()
        self._put_off_at = 0.0
        self._ticks = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="trellis-epoch", daemon=True)
        self._thread.start()

    def polling(self) -> None:
        """A component begins or goes on to run: the next epoch comes half a tick to a tick from now."""
        self._ticks = 0
        now = time.monotonic()
        if now >= self._put_off_at:
            self._put_off_at = now + self._tick / 2
            self.parked = False
            self._alarm.set(self._tick)

    def close(self) -> None:
        """Ends the thread and waits for it."""
        if not self._closed:
            self._closed = True
            self._alarm.set(1e-9)
            self._thread.join()
            self._alarm.close()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._alarm.wait()
            if self._closed:
                return
            for advance in self._advance:
                advance()
            self._ticks += 1
            if self._ticks < _TICKS_AFTER_POLL:
                self._alarm.set(self._tick)
            else:
                self._put_off_at = 0.0
                self.parked = True
