"""Slots: at most `size` invocations of a component at one time, the rest wait a bounded while.

The laws of this file: first come, first served; a freed slot goes to the oldest waiter; when the queue is
full, or a waiter's patience or deadline ends, the call is refused with `Overloaded` before it started.
"""

from __future__ import annotations

import asyncio
from collections import deque

from trellis_lattice.errors import Overloaded

__all__ = ["Slots"]


class Slots:
    """Bounds the concurrent invocations of `name`.

    `queue` is how many may wait, `patience` how long each does, in seconds. `resize` takes effect at once for
    newcomers and, when shrinking, as running invocations end.
    """

    def __init__(self, name: str, size: int, *, queue: int = 1024, patience: float = 2.0) -> None:
        self.name = name
        self.size = size
        self.queue = queue
        self.patience = patience
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: asyncio.Event | None = None

    @property
    def free(self) -> bool:
        """Whether `try_acquire` would succeed."""
        return self.in_flight < self.size and not self._waiting

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_acquire(self) -> bool:
        """Takes a slot if one is free and nobody waits for it."""
        if self.in_flight < self.size and not self._waiting:
            self.in_flight += 1
            return True
        return False

    async def acquire(self, deadline: float) -> None:
        """Takes a slot, waiting until `patience` or `deadline` (loop time) ends; then `Overloaded`."""
        if self.try_acquire():
            return
        if len(self._waiting) >= self.queue:
            raise self._overloaded(f"{len(self._waiting)} calls already wait")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self.patience)):
                await turn
        except TimeoutError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise self._overloaded(f"no slot became free within {self.patience:g} s") from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise
        finally:
            if not turn.done():
                turn.cancel()
            if turn in self._waiting:
                self._waiting.remove(turn)

    def release(self) -> None:
        """Gives a slot back."""
        self.in_flight -= 1
        self._hand_over()
        if self.in_flight == 0 and self._idle is not None:
            self._idle.set()

    def resize(self, size: int) -> None:
        self.size = size
        self._hand_over()

    async def idle(self) -> None:
        """Waits until nothing is in flight."""
        while self.in_flight:
            if self._idle is None or self._idle.is_set():
                self._idle = asyncio.Event()
            await self._idle.wait()

    def _hand_over(self) -> None:
        while self._waiting and self.in_flight < self.size:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def _overloaded(self, why: str) -> Overloaded:
        return Overloaded(
            f"Component {self.name!r} is at its limit of {self.size} concurrent invocations, and {why}.",
            remedy="Try again later, or raise `instances` in its manifest.",
            component=self.name,
            max_instances=self.size,
            retry_after=1.0,
        )
