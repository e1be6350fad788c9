"""What a component can wait for.

The law of this file: a pollable says whether it is `ready` now, and sets a future when that may have changed.
Waiting costs one future, however many pollables are waited for; no tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from trellis_lattice.streams import Pipe

__all__ = ["ALWAYS", "Cell", "CellFilled", "Pollable", "Readable", "Timer", "Writable", "wait_any"]

_LONGEST_SLEEP = 3600.0
"""Seconds; a longer timer looks at the clock in between."""

Waiter = asyncio.Future[None]


class Pollable:
    """Always ready; the base of the others."""

    __slots__ = ()

    def ready(self) -> bool:
        return True

    def watch(self, waiter: Waiter) -> None:
        """Has `waiter` set when `ready` may have changed."""

    def unwatch(self, waiter: Waiter) -> None:
        """No longer."""


ALWAYS = Pollable()


class Readable(Pollable):
    """A pipe has bytes or has ended."""

    __slots__ = ("pipe",)

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def ready(self) -> bool:
        return self.pipe.readable

    def watch(self, waiter: Waiter) -> None:
        self.pipe.watch(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        self.pipe.unwatch(waiter)


class Writable(Readable):
    """A pipe has room, or nobody reads it any more."""

    __slots__ = ()

    def ready(self) -> bool:
        return self.pipe.room > 0 or self.pipe.reader_gone or self.pipe.ended


class Timer(Pollable):
    """The clock has reached `when`, in its nanoseconds."""

    __slots__ = ("_clock", "_handle", "_when")

    def __init__(self, clock: Callable[[], int], when: int) -> None:
        self._clock = clock
        self._when = when
        self._handle: asyncio.TimerHandle | None = None

    def ready(self) -> bool:
        return self._clock() >= self._when

    def watch(self, waiter: Waiter) -> None:
        if self._handle is None:
            delay = min((self._when - self._clock()) / 1e9, _LONGEST_SLEEP)
            self._handle = waiter.get_loop().call_later(delay, _wake, waiter)

    def unwatch(self, waiter: Waiter) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Cell:
    """A place for one value that comes later. `value` is None until it is `filled`."""

    __slots__ = ("_waiters", "filled", "value")

    def __init__(self) -> None:
        self.filled = False
        self.value: object = None
        self._waiters: list[Waiter] = []

    def fill(self, value: object) -> None:
        """The first value stays."""
        if not self.filled:
            self.filled, self.value = True, value
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                _wake(waiter)

    def watch(self, waiter: Waiter) -> None:
        self._waiters.append(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)


class CellFilled(Pollable):
    """The value is here."""

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def ready(self) -> bool:
        return self._cell.filled

    def watch(self, waiter: Waiter) -> None:
        if self._cell.filled:
            _wake(waiter)
        else:
            self._cell.watch(waiter)

    def unwatch(self, waiter: Waiter) -> None:
        self._cell.unwatch(waiter)


async def wait_any(pollables: Sequence[Pollable]) -> list[int]:
    """Waits until at least one is ready; the places of all that are."""
    loop = asyncio.get_running_loop()
    while True:
        ready = [index for index, each in enumerate(pollables) if each.ready()]
        if ready:
            return ready
        waiter: Waiter = loop.create_future()
        try:
            for each in pollables:
                each.watch(waiter)
            await waiter
        finally:
            for each in pollables:
                each.unwatch(waiter)


def _wake(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_result(None)
