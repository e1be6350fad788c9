"""The tasks of a host, and work that must end.

The laws of this file: a task that fails is logged with its name and harms no other, and one that has to run as
long as the host begins again; whoever waits for foreign code waits a bounded time, also if that code ignores its
cancellation; nothing outlives the host unnamed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

from trellis_lattice.errors import DeadlineExceeded, TrellisError, Unavailable

__all__ = ["Background", "bounded", "reason_of"]

_log = logging.getLogger("trellis.host")

T = TypeVar("T")

AGAIN = 1.0
"""Seconds before something that failed begins again."""
_LINGER = 1.0
"""Seconds that cancelled work gets to end."""


class Background:
    """The tasks of one host: an `async with` block whose end cancels and awaits them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def create_task(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Runs `work` beside everything else."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def keep(self, work: Callable[[], Awaitable[None]], *, name: str) -> asyncio.Task[None]:
        """Runs `work` until it returns; each time it fails that is logged, and it begins again after `AGAIN`."""

        async def again_and_again() -> None:
            while True:
                try:
                    await work()
                    return
                except Exception:
                    _log.exception("The host's %s failed and begins again", name)
                await asyncio.sleep(AGAIN)

        return self.create_task(again_and_again(), name=name)

    async def aclose(self) -> None:
        """Cancels what is left; what ignores that is named in the log and left behind. Idempotent."""
        if not self._tasks:
            return
        for task in tuple(self._tasks):
            task.cancel()
        _, late = await asyncio.wait(tuple(self._tasks), timeout=_LINGER)
        for task in late:
            _log.error("The task %r does not end when it is cancelled; it is left behind", task.get_name())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("The host's task %r failed", task.get_name(), exc_info=error)


async def bounded(work: Coroutine[Any, Any, T], seconds: float, what: str) -> T:
    """What `work` answers. It is foreign code: it may hang, or ignore that it is cancelled.

    Raises what it raises, and `DeadlineExceeded` after `seconds`; `Unavailable` if it cancelled itself.
    """
    task = asyncio.get_running_loop().create_task(work, name=what)
    try:
        done, _ = await asyncio.wait((task,), timeout=max(seconds, 0.0))
    except asyncio.CancelledError:
        await _end(task, what)
        raise
    if not done:
        await _end(task, what)
        raise DeadlineExceeded(f"{what} did not end within {seconds:g} s.", remedy="Its log may say what it waits for.")
    if task.cancelled():
        raise Unavailable(f"{what} was cancelled.")
    return task.result()


def reason_of(task: asyncio.Task[Any]) -> TrellisError | None:
    """Why a task that has ended failed, as an error of ours; None if it did not."""
    if task.cancelled():
        return Unavailable("It was stopped before it had started.")
    error = task.exception()
    if error is None or isinstance(error, TrellisError):
        return error
    _log.error("%s failed", task.get_name(), exc_info=error)
    return TrellisError(f"{type(error).__name__}: {error}.", remedy="The log of its host has the traceback.")


async def _end(task: asyncio.Task[Any], what: str) -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=_LINGER)
    task.add_done_callback(_note_failure)
    if not task.done():
        _log.error("%s does not end when it is cancelled; it is left behind", what)


def _note_failure(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.debug("%s failed after it was given up", task.get_name(), exc_info=error)
