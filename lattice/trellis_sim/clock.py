"""A virtual clock: what is to happen, in order of time. Nothing waits; an hour may take a second."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Clock"]


class Clock:
    """Runs events in order of their times; those of one time in the order in which they were entered."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        """How many were run."""
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._entered = 0

    def at(self, time: float, act: Callable[..., object], *args: Any) -> None:
        """Calls `act(*args)` at that time, at once if it has passed."""
        self._entered += 1
        heapq.heappush(self._queue, (time if time > self.now else self.now, self._entered, act, args))

    def after(self, seconds: float, act: Callable[..., object], *args: Any) -> None:
        self.at(self.now + seconds, act, *args)

    def run(self, until: float) -> None:
        """Everything up to and at that time."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= until:
            self.now, _, act, args = pop(queue)
            self.events += 1
            act(*args)
        self.now = until
