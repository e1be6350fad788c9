"""One sandbox, and one call that runs in it as a fiber on the event loop.

The laws of this file: a store belongs to one sandbox and one task; what an asynchronous call was given stays
untouched until its future is deleted; a sandbox is polled only when its own pending host function is done or after
an epoch yield, by the task that awaits it or, while that waits, by the callback that says so; whatever ends a call
(value, trap, deadline, cancellation) goes through `close`, once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trellis_host.engine import ffi
from trellis_host.engine.api import Limits
from trellis_host.engine.imports import SANDBOXES, Pending, drop_left_over
from trellis_host.engine.lower import lower_arguments
from trellis_host.engine.mismatch import ValueMismatch
from trellis_host.engine.space import FUNC, INSTANCE, RESULT, Space
from trellis_lattice.errors import (
    Conflict,
    DeadlineExceeded,
    InvocationFailed,
    Overloaded,
    RequestInvalid,
    Unavailable,
)

if TYPE_CHECKING:
    from trellis_host.engine.linked import Export, LinkedComponent

__all__ = ["Running", "Sandbox"]

_log = logging.getLogger(__name__)

WORDS = ffi.WORDS
_poll = ffi.future_poll
_delete_future = ffi.future_delete

_FIRST_EPOCHS = 2
"""Epochs before a component first gives way: with one, every twentieth call of 100 µs would meet a tick and yield."""


class Sandbox(Space):
    """A store with one instance of a component. Made by `LinkedComponent.sandbox`; `close` it when done."""

    __slots__ = ("_busy", "_ready", "_store", "closed", "error", "linked", "pending", "polling", "tasks", "waiter")

    def __init__(self, linked: LinkedComponent, context: Any, limits: Limits) -> None:
        Space.__init__(self, context, limits.resources)
        self.linked = linked
        self.error: BaseException | None = None
        """Why the invocation ends, as recorded by a host function."""
        self.pending: Pending | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.tasks = linked.tasks
        self.closed = False
        self.polling = False
        """wasmtime is inside this store; nothing of it may be deleted now."""
        self._busy: Running | None = None
        self._ready = False
        self._store = store = ffi.store_new(linked.engine_address, None, None)
        self.ctx = ctx = ffi.store_context(store)
        ffi.store_limiter(store, limits.memory_bytes, -1, -1, -1, -1)
        ffi.set_epoch_deadline(ctx, _FIRST_EPOCHS)
        ffi.epoch_yields(ctx, 1)
        SANDBOXES[ctx] = self

    async def call(self, export: Export, args: Sequence[Any], deadline: float) -> Any:
        """Calls an export of this instance. Raises as `LinkedComponent.call`; after a trap the sandbox is closed."""
        self._check_free()
        return await Running(self, export, args, deadline, keep=True).result()

    def _check_free(self) -> None:
        if self.closed:
            raise Unavailable("The sandbox is closed.", remedy="Make a new one; one that trapped cannot be used again.")
        if self._busy is not None:
            raise Conflict("The sandbox is busy with another call.", remedy="Make one call at a time in a sandbox.")

    def wake(self) -> None:
        """The pending host function is done, or the deadline is reached."""
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def proceed(self) -> None:
        """The pending host function is done: on to the next, and only then back to the task that awaits the call."""
        waiter, running = self.waiter, self._busy
        if waiter is None or waiter.done() or running is None:
            return
        running.advance(waiter.get_loop().time())
        if running.done or self.pending is None or self.pending.task.done():
            self.wake()

    def close(self) -> None:
        """Ends the sandbox: its running call, its memory and the host resources it left. Idempotent.

        Called by one of its own host functions, it takes effect when that returns and the component gives way.
        """
        if self.closed:
            return
        if self.polling:
            if self.error is None:
                self.error = InvocationFailed("The sandbox was closed by a host function.", trap="closed")
            return
        self.closed = True
        if self._busy is not None:
            self._busy.abandon()
        if self.pending is not None:
            self.pending.cancel()
        if self.kept:
            for kept in tuple(self.kept):
                self.forget(kept)
        ffi.store_delete(self._store)
        del SANDBOXES[self.ctx]
        self.release_memory()
        if self.table:
            for resource, error in drop_left_over(self):
                _log.warning("drop of host resource %s failed: %s", resource.name, error, exc_info=error)


class Running:
    """A call in a sandbox. It has run to its first suspension when it is made; `result` drives it to the end.

    `done` tells whether a value or an error is there. Whoever does not await `result` calls `close`.
    """

    __slots__ = (
        "_args",
        "_deadline",
        "_error",
        "_expired",
        "_export",
        "_future",
        "_keep",
        "_value",
        "done",
        "sandbox",
    )

    def __init__(
        self, sandbox: Sandbox, export: Export, args: Sequence[Any], deadline: float, *, keep: bool = False
    ) -> None:
        self.sandbox = sandbox
        self._export = export
        self._deadline = deadline
        self._keep = keep
        self._value: Any = None
        self._error: BaseException | None = None
        self._expired = False
        self._future = 0
        self.done = False
        sandbox._busy = self
        self._args = self._lower(args)
        try:
            if sandbox._ready:
                self._begin()
            else:
                self._instantiate()
            self._step()
        except BaseException as error:
            self._finish(error, broken=True)
            raise
        if self._error is not None and isinstance(self._error, Overloaded):
            raise self._error

    def _lower(self, args: Sequence[Any]) -> int:
        """Writes the arguments where they stay until the call ends; their address."""
        sandbox, export = self.sandbox, self._export
        try:
            if len(args) != len(export.lowers):
                raise export.wrong_count(args)
            address = sandbox.take(ffi.VALUE_BYTES * len(args))
            if args:
                lower_arguments(export.lowers, sandbox, address, args)
            return address
        except BaseException as error:
            sandbox.undo()
            if isinstance(error, ValueMismatch):
                error = RequestInvalid(
                    f"{export} cannot be called with these arguments. {error.describe('args')}.",
                    remedy="Give values of the types that the interface declares.",
                )
            self._finish(error, broken=False)
            raise error from None

    async def result(self) -> Any:
        """The value of the call. Raises `InvocationFailed`, `DeadlineExceeded`, or the error of a host function.

        Cancelling the task that awaits this ends the component's call.
        """
        if not self.done:
            try:
                await self._drive()
            finally:
                if not self.done:
                    self._finish(
                        InvocationFailed(f"{self._export} was cancelled.", trap="cancelled"),
                        broken=True,
                    )
        return self.outcome()

    def outcome(self) -> Any:
        """The value of a call that is `done`. Raises as `result`."""
        if self._error is not None:
            raise self._error
        return self._value

    def close(self) -> None:
        """Ends the call if it still runs. Idempotent."""
        if self.done:
            return
        if self.sandbox.polling:
            self.sandbox.close()
        else:
            self._finish(InvocationFailed(f"{self._export} was closed before its end.", trap="closed"), broken=True)

    # -----------------------------------------------------------------------------------------------------------

    def _instantiate(self) -> None:
        sandbox = self.sandbox
        linked = sandbox.linked
        base = sandbox.base
        WORDS[base] = 0
        self._future = ffi.instantiate_async(
            linked.address, sandbox.ctx, linked.component_address, (base + INSTANCE) << 3, base << 3
        )

    def _begin(self) -> None:
        """The instance is there: starts the call itself."""
        sandbox = self.sandbox
        export = self._export
        base = sandbox.base
        function = (base + FUNC) << 3
        if not ffi.instance_get_func((base + INSTANCE) << 3, sandbox.ctx, export.index_address, function):
            raise InvocationFailed(f"{export} is not in the instance.", trap="missing export")
        WORDS[base] = 0
        WORDS[base + RESULT] = 0
        WORDS[base + RESULT + 1] = 0
        self._future = ffi.func_call_async(
            function,
            sandbox.ctx,
            self._args,
            len(export.lowers),
            (base + RESULT) << 3,
            export.results,
            base << 3,
        )

    def _step(self) -> None:
        """Polls: until the component waits, yields or is finished."""
        sandbox = self.sandbox
        ticker = sandbox.linked.ticker
        while True:
            ticker.polling()
            sandbox.polling = True
            over = _poll(self._future)
            sandbox.polling = False
            if not over:
                if sandbox.error is not None:
                    self._finish(sandbox.error, broken=True)
                return
            _delete_future(self._future)
            self._future = 0
            error = WORDS[sandbox.base]
            if error or sandbox.error is not None:
                text = ffi.take_error(error) if error else ""
                self._finish(sandbox.error or self._export.failure(text), broken=True)
                return
            if sandbox._ready:
                break
            sandbox._ready = True
            if self._export.index_address == 0:
                break
            self._begin()
        self._succeed()

    def _succeed(self) -> None:
        sandbox = self.sandbox
        export = self._export
        lift = export.lift
        if lift is not None:
            index = sandbox.base + RESULT
            try:
                self._value = lift(sandbox, index)
            except BaseException as error:
                self._finish(error, broken=True)
                return
            finally:
                if export.frees:
                    ffi.val_delete(index << 3)
        self._finish(None, broken=False)

    def _finish(self, error: BaseException | None, *, broken: bool) -> None:
        """The one end of a call. `broken`: the instance cannot be entered again."""
        self.done = True
        self._error = error
        sandbox = self.sandbox
        sandbox.polling = False
        if self._future:
            _delete_future(self._future)
            self._future = 0
        if sandbox.pending is not None:
            sandbox.pending.cancel()
        sandbox._busy = None
        if sandbox.waiter is not None:
            sandbox.wake()
        sandbox.settle()
        if self._keep and not broken:
            sandbox.rewind_all()
        else:
            sandbox.close()

    def abandon(self) -> None:
        """The sandbox is being closed under the call."""
        self.close()

    async def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        sandbox = self.sandbox
        timer: asyncio.TimerHandle | None = None
        try:
            while not self.done:
                pending = sandbox.pending
                if pending is None:
                    await asyncio.sleep(0)
                elif not pending.task.done():
                    if timer is None:
                        timer = loop.call_at(self._deadline, self._expire)
                    sandbox.waiter = loop.create_future()
                    await sandbox.waiter
                if self.done:
                    return
                self.advance(loop.time())
        finally:
            sandbox.waiter = None
            if timer is not None:
                timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        self.sandbox.wake()

    def advance(self, now: float) -> None:
        """Polls if there is something to go on with; ends the call if its host function failed or its time is up."""
        sandbox = self.sandbox
        pending = sandbox.pending
        ready = pending is not None and pending.task.done()
        failure = pending.failure() if pending is not None and ready else None
        if failure is None and (self._expired or now >= self._deadline):
            failure = DeadlineExceeded(
                f"{self._export} did not answer before its deadline.",
                remedy="Allow it more time, or find out what it waits for.",
            )
        if failure is not None:
            self._finish(failure, broken=True)
            return
        if ready:
            # It gave way while it waited: ticks of that time do not count.
            ffi.set_epoch_deadline(sandbox.ctx, _FIRST_EPOCHS)
        elif pending is not None:
            return
        self._step()
