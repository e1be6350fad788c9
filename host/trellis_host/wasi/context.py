"""What one invocation of a component sees of the world.

The laws of this file: `WasiSettings` is made once per component and shared by all its invocations;
`WasiContext` is made for every invocation, so it holds next to nothing until something is used. Clocks,
randomness, the log and the way to other HTTP servers are given, never taken from globals. Whoever runs the
invocation calls `close` when it is over.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from trellis_host.wasi.logs import ComponentLog, LogRecord
from trellis_lattice.errors import InvocationFailed, Unavailable

if TYPE_CHECKING:
    from trellis_host.wasi.http.client import OutgoingClient
    from trellis_host.wasi.http.grants import HttpGrants

__all__ = ["ComponentExited", "TaskOwner", "WasiContext", "WasiSettings", "cancel_once", "trap"]


class TaskOwner(Protocol):
    """Where the tasks of invocations live: an `asyncio.TaskGroup` will do."""

    def create_task(self, coro: Coroutine[Any, Any, Any], /) -> asyncio.Task[Any]: ...


class ComponentExited(InvocationFailed):
    """The component ended its own invocation with `wasi:cli/exit`. Fields: `status`."""


@dataclass(frozen=True, slots=True)
class WasiSettings:
    """The part of a component's world that all its invocations share.

    `config` is what `wasi:config` answers; `log` gets the component's log records, synchronously;
    `monotonic` and `wall` give nanoseconds; `random` gives that many unpredictable bytes; `grants` says which
    hosts outgoing requests may go to, `client` makes those requests; `owner` holds the tasks that move bytes
    for an invocation. Without `grants`, `client` or `owner` a component cannot make requests.
    """

    component: str
    log: Callable[[LogRecord], None]
    config: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    grants: HttpGrants | None = None
    client: OutgoingClient | None = None
    owner: TaskOwner | None = None
    monotonic: Callable[[], int] = time.monotonic_ns
    wall: Callable[[], int] = time.time_ns
    random: Callable[[int], bytes] = os.urandom


class WasiContext:
    """One invocation. `deadline` is on the event loop's clock; `exchange` is set while it answers HTTP."""

    __slots__ = ("_log", "_tasks", "deadline", "exchange", "settings")

    def __init__(self, settings: WasiSettings, deadline: float) -> None:
        self.settings = settings
        self.deadline = deadline
        self.exchange: Any = None
        self._log: ComponentLog | None = None
        self._tasks: set[asyncio.Task[Any]] | None = None

    @property
    def log(self) -> ComponentLog:
        """Where this invocation's output goes; one budget for all of it."""
        log = self._log
        if log is None:
            log = self._log = ComponentLog(self.settings.component, self.settings.log)
        return log

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs `work`, which reports its own errors, until it is done or the invocation ends."""
        owner = self.settings.owner
        if owner is None:
            work.close()
            raise Unavailable(f"Component {self.settings.component!r} was started without a place for its streams.")
        task: asyncio.Task[None] = owner.create_task(work)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """The invocation is over: cancels what still works for it, writes out its last line. Idempotent."""
        if self._log is not None:
            self._log.close()
        if self._tasks:
            for task in tuple(self._tasks):
                cancel_once(task)


def cancel_once(task: asyncio.Task[Any]) -> None:
    """Cancels; a second cancellation would interrupt the task's cleaning up after the first."""
    if not task.cancelling():
        task.cancel()


def trap(context: WasiContext, what: str) -> InvocationFailed:
    """The error for a component that broke the contract of a WASI function; the spec says it traps."""
    component = context.settings.component
    return InvocationFailed(
        f"Component {component!r} misused WASI: {what}.",
        remedy="This is a fault of the component or of the toolchain that built it.",
        component=component,
        trap=what,
    )
