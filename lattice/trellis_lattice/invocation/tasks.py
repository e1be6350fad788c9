"""A set of tasks that ends with its owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from trellis_lattice.errors import TrellisError

__all__ = ["Tasks"]

_log = logging.getLogger("trellis.invocation")


class Tasks:
    """Tasks of an owner that is opened and closed by different tasks, where no task group can be.

    A task that fails is logged and harms no other. `aclose` cancels and awaits what is left.
    """

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], Callable[[], None] | None] = {}

    def spawn(self, work: Coroutine[Any, Any, Any], ended: Callable[[], None] | None = None) -> asyncio.Task[Any]:
        """Runs `work`; `ended()` is called after it, also if it was cancelled before its first step."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = ended
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def settle(self, deadline: float) -> bool:
        """Waits for all tasks, until `deadline` (loop time). Whether none is left."""
        while self._tasks:
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                return False
            await asyncio.wait(tuple(self._tasks), timeout=remaining)
        return True

    async def aclose(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        ended = self._tasks.pop(task)
        if ended is not None:
            ended()
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, TrellisError):
            _log.debug("A background task ended with: %s", error)
        elif error is not None:
            _log.error("A background task failed", exc_info=error)
