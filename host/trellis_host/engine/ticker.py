"""The clock that makes running components yield: one thread that advances the epoch of all engines of a host.

It is parked after 100 ms in which no component ran, because it costs a few percent of a core; the next poll wakes
it. The thread touches nothing but the epoch counter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

__all__ = ["Ticker"]

_IDLE_SECONDS = 0.1


class Ticker:
    """Set `polled` before each poll, and call `wake` if `parked`."""

    def __init__(self, advance: Sequence[Callable[[], None]], tick: float) -> None:
        self.polled = False
        self.parked = True
        self._advance = advance
        self._tick = tick
        self._event = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="trellis-epoch", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._event.set()

    def close(self) -> None:
        """Ends the thread and waits for it (at most a tick)."""
        self._closed = True
        self._event.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        idle_ticks = max(1, round(_IDLE_SECONDS / self._tick))
        while not self._closed:
            self.parked = True
            if not self.polled:
                self._event.wait()
            self._event.clear()
            self.parked = False
            idle = 0
            while idle < idle_ticks and not self._closed:
                time.sleep(self._tick)
                for advance in self._advance:
                    advance()
                if self.polled:
                    self.polled = False
                    idle = 0
                else:
                    idle += 1
