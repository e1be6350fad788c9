"""Host functions: how a component's call of an import becomes a call of Python.

One callback per kind for the whole process; the `data` pointer says which import is meant. A callback runs on the
fiber's stack, so it only translates, calls and returns: no Python frame is ever suspended there. It resolves every
borrow and copies every argument before it returns, and never lets an exception out: a failure is recorded on the
sandbox and wasmtime gets an error of its own.

A function that `waits` and gives a plain value is finished inside its callback, without task. Only an awaitable
becomes a task; the task leaves a value or an exception and never touches wasmtime's memory. The value is written by
`_poll`, which wasmtime calls only while the sandbox is polled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from trellis_host.engine import ffi
from trellis_host.engine.api import HostFunction, HostResource
from trellis_host.engine.lift import Lift, lifter
from trellis_host.engine.lower import Resources
from trellis_host.engine.mismatch import ValueMismatch
from trellis_host.engine.results import result_lowerer
from trellis_host.engine.scalars import Lower
from trellis_lattice.errors import InvocationFailed, PeerMisbehaved
from trellis_lattice.wit.types import FuncType

if TYPE_CHECKING:
    from trellis_host.engine.running import Sandbox

__all__ = ["DESTRUCTOR", "HOST_CALL", "HOST_WAIT", "SANDBOXES", "BoundFunction", "Pending", "register", "unregister"]

WORDS = ffi.WORDS

SANDBOXES: dict[int, Sandbox] = {}
"""Live sandboxes by the address of their store's context, which callbacks are given."""

_Run = Callable[["Sandbox", int], Any]

_tables: list[Any] = []
_free: list[int] = []


def register(entry: Any) -> int:
    """A number for `entry` that a callback gets back as `data`."""
    if _free:
        number = _free.pop()
        _tables[number] = entry
        return number
    _tables.append(entry)
    return len(_tables) - 1


def unregister(number: int) -> None:
    """Frees a number; the linker that knows it must be gone."""
    _tables[number] = None
    _free.append(number)


class BoundFunction:
    """One import: how to call it (`run(sandbox, index of the first argument)`) and how to write its result."""

    __slots__ = ("label", "lower", "run")

    def __init__(self, function: HostFunction, type: FuncType, resources: Resources, label: str) -> None:
        self.label = label
        self.run = _runner(function.call, [lifter(param, resources) for _, param in type.params])
        self.lower: Lower = result_lowerer(type.result, resources)


def _runner(call: Callable[..., Any], lifts: Sequence[Lift]) -> _Run:
    """Reads the arguments and calls; the usual numbers of arguments without building a list."""
    match lifts:
        case []:
            return lambda sandbox, args: call(sandbox.context)
        case [a]:
            return lambda sandbox, args: call(sandbox.context, a(sandbox, args))
        case [a, b]:
            return lambda sandbox, args: call(sandbox.context, a(sandbox, args), b(sandbox, args + 4))
        case [a, b, c]:
            return lambda sandbox, args: call(
                sandbox.context, a(sandbox, args), b(sandbox, args + 4), c(sandbox, args + 8)
            )
    places = [(4 * position, lift) for position, lift in enumerate(lifts)]
    return lambda sandbox, args: call(sandbox.context, *[lift(sandbox, args + offset) for offset, lift in places])


def _failed(sandbox: Sandbox | None, bound: Any, error: BaseException) -> int:
    """Records why an invocation ends; gives an error for wasmtime."""
    if sandbox is not None and sandbox.error is None:
        sandbox.error = _as_failure(bound, error)
    return ffi.new_error("the host function failed")


def _as_failure(bound: Any, error: BaseException) -> BaseException:
    label = bound.label if isinstance(bound, BoundFunction) else "a resource's drop"
    if isinstance(error, ValueMismatch):
        return PeerMisbehaved(
            f"The host's {label} gave a value of the wrong type. {error.describe('result')}.",
            remedy="Mend the provider or host function that answers this import.",
        )
    if isinstance(error, asyncio.CancelledError):
        return InvocationFailed(f"The host's {label} was cancelled before it answered.", trap="host function cancelled")
    return error


# The arguments of all callbacks are plain addresses; `args` and `results` become indices of words.


def _host_call(data: int, ctx: int, type: int, args: int, nargs: int, results: int, nresults: int) -> int:
    bound = sandbox = None
    try:
        sandbox = SANDBOXES[ctx]
        bound = _tables[data]
        bound.lower(sandbox, results >> 3, bound.run(sandbox, args >> 3))
        return 0
    except BaseException as error:  # nothing may leave a callback
        return _failed(sandbox, bound, error)


def _host_wait(
    data: int,
    ctx: int,
    type: int,
    args: int,
    nargs: int,
    results: int,
    nresults: int,
    error_out: int,
    continuation: int,
) -> None:
    place = continuation >> 3
    WORDS[place] = ffi.READY_CALLBACK
    WORDS[place + 1] = ffi.READY_ENV
    bound = sandbox = None
    try:
        sandbox = SANDBOXES[ctx]
        bound = _tables[data]
        value = bound.run(sandbox, args >> 3)
        if hasattr(value.__class__, "__await__"):
            WORDS[place + 1] = _suspend(sandbox, bound, value, results >> 3)
            WORDS[place] = _POLL_ADDRESS
        else:
            bound.lower(sandbox, results >> 3, value)
    except BaseException as error:  # nothing may leave a callback
        WORDS[error_out >> 3] = _failed(sandbox, bound, error)


def _destructor(data: int, ctx: int, rep: int) -> int:
    """The component dropped an owned handle."""
    sandbox = None
    try:
        sandbox = SANDBOXES[ctx]
        value, resource = sandbox.table.pop(rep)
        if resource.drop is not None:
            resource.drop(sandbox.context, value)
        return 0
    except BaseException as error:  # nothing may leave a callback
        return _failed(sandbox, None, error)


class Pending:
    """An answer a component waits for. `task` is done, sooner or later; `results` is where its value goes."""

    __slots__ = ("bound", "number", "results", "sandbox", "task")

    def __init__(self, sandbox: Sandbox, bound: BoundFunction, task: asyncio.Future[Any], results: int) -> None:
        self.sandbox = sandbox
        self.bound = bound
        self.task = task
        self.results = results
        self.number = 0

    def failure(self) -> BaseException | None:
        """Why there will be no value, once the task is done."""
        if self.task.cancelled():
            return _as_failure(self.bound, asyncio.CancelledError())
        error = self.task.exception()
        return None if error is None else _as_failure(self.bound, error)

    def cancel(self) -> None:
        """The sandbox ends: nothing will be read from the task any more, whatever it does."""
        _pendings.pop(self.number, None)
        self.sandbox.pending = None
        task = self.task
        task.remove_done_callback(self._finished)
        if not task.done():
            task.add_done_callback(_retrieve)
            task.cancel()
        else:
            _retrieve(task)

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self.sandbox.proceed()


_pendings: dict[int, Pending] = {}
_next_number = 1


def _suspend(sandbox: Sandbox, bound: BoundFunction, value: Awaitable[Any], results: int) -> int:
    global _next_number
    task: asyncio.Future[Any] = asyncio.ensure_future(value)
    pending = Pending(sandbox, bound, task, results)
    number = pending.number = _next_number
    _next_number = number + 1
    _pendings[number] = pending
    sandbox.pending = pending
    sandbox.tasks.add(task)
    task.add_done_callback(sandbox.tasks.discard)
    task.add_done_callback(pending._finished)
    return number


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Takes note of an exception nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _poll(env: int) -> bool:
    """wasmtime asks, inside a poll, whether the answer is there."""
    pending = _pendings.get(env)
    if pending is None or not pending.task.done():
        return False
    sandbox = pending.sandbox
    try:
        _pendings.pop(env)
        sandbox.pending = None
        pending.bound.lower(sandbox, pending.results, pending.task.result())
        return True
    except BaseException as error:  # nothing may leave a callback
        if sandbox.error is None:
            sandbox.error = _as_failure(pending.bound, error)
        return False


# The entry points for C: made once, never collected.
HOST_CALL = ffi.SyncCallback(_host_call)
HOST_WAIT = ffi.AsyncCallback(_host_wait)
DESTRUCTOR = ffi.Destructor(_destructor)
_POLL = ffi.PollCallback(_poll)
_POLL_ADDRESS = ffi.callback_address(_POLL)


def drop_left_over(sandbox: Sandbox) -> list[tuple[HostResource, BaseException]]:
    """Runs `drop` for host resources the component left behind, the youngest first; gives the failures."""
    failures: list[tuple[HostResource, BaseException]] = []
    table, sandbox.table = sandbox.table, {}
    for value, resource in reversed(table.values()):
        if resource.drop is not None:
            try:
                resource.drop(sandbox.context, value)
            except Exception as error:
                failures.append((resource, error))
    return failures
