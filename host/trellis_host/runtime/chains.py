"""Work on one thing happens one after the other, on different things side by side.

The laws of this file: what fails is logged and does not keep what follows it from running; work that is only a
look at the present state waits at most once per thing, however often it is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from trellis_host.runtime.background import Background

__all__ = ["Chains"]


class Chains:
    """One chain per key; a chain exists as long as something is in it."""

    def __init__(self, tasks: Background) -> None:
        self._tasks = tasks
        self._last: dict[str, asyncio.Task[None]] = {}
        self._looking: set[str] = set()

    def add(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` after everything that was added for `key` before."""
        before = self._last.get(key)

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait((before,))
            await work()

        task = self._tasks.create_task(in_turn(), name=f"effects of {key}")
        self._last[key] = task
        task.add_done_callback(lambda done: self._last.pop(key) if self._last.get(key) is done else None)

    def look(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        """As `add`, unless a look at `key` waits already and has not begun."""
        if key in self._looking:
            return
        self._looking.add(key)

        async def begin() -> None:
            self._looking.discard(key)
            await work()

        self.add(key, begin)

    async def settled(self, key: str | None = None) -> None:
        """Waits until nothing is left of one chain, or of all, also of what was added meanwhile."""
        while self._last if key is None else key in self._last:
            await asyncio.wait(tuple(self._last.values()) if key is None else (self._last[key],))
