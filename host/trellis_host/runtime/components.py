"""A component that runs on this host: its code, its slots, its links, and the calls it answers.

The laws of this file: every call gets a fresh sandbox and its own context; a call holds a slot from before
its sandbox is made until the component is really done, streams included; nothing here outlives `close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from trellis_host.engine.api import Limits
from trellis_host.runtime.engines import ComponentLike, ExportLike, LinkedLike, RunningLike
from trellis_host.runtime.imports import InvocationContext
from trellis_host.runtime.sessions import Sessions, hands_out_or_takes_resources
from trellis_host.runtime.slots import Slots
from trellis_host.state import ComponentSpec
from trellis_host.wasi.context import WasiSettings
from trellis_host.wasi.http.exchange import start_http
from trellis_lattice.http import HANDLE_TYPE, INCOMING_HANDLER
from trellis_lattice.invocation.api import Call
from trellis_lattice.wit.types import FuncType, InterfaceType

__all__ = ["RunningComponent"]


class RunningComponent:
    """Answers calls to one component (a `LocalService`).

    `settings` is the world its invocations see; `limits` bounds each of them; `timeout` (seconds) bounds how
    long one may run whatever its caller allows.
    """

    def __init__(
        self,
        spec: ComponentSpec,
        component: ComponentLike,
        linked: LinkedLike,
        settings: WasiSettings,
        *,
        limits: Limits,
        timeout: float,
    ) -> None:
        self.spec = spec
        self.component = component
        self.slots = Slots(spec.id, spec.max_instances)
        self._linked = linked
        self._settings = settings
        self._limits = limits
        self.timeout = timeout
        self.closed = False
        self._before: RunningComponent | None = None
        self._exports: dict[tuple[str, str], tuple[ExportLike, FuncType]] = {}
        self._sessions = Sessions(linked, limits, self.slots, lambda until: InvocationContext(settings, until))
        self._in_session: set[ExportLike] = set()

    @property
    def has_capacity(self) -> bool:
        return self.slots.free

    @property
    def interfaces(self) -> Mapping[str, InterfaceType]:
        return self.component.exports

    @property
    def in_flight(self) -> int:
        return self.slots.in_flight

    def reshape(self, spec: ComponentSpec) -> None:
        """New bounds for what already runs."""
        self.spec = spec
        self.slots.resize(spec.max_instances)

    def follow(self, before: object) -> None:
        """Takes over from `before`, which finishes what it has begun: its resources stay with it."""
        self._before = before if isinstance(before, RunningComponent) else None

    def _holder(self, args: Sequence[Any]) -> RunningComponent | None:
        """The component before this one to which a resource among the arguments belongs."""
        while self._before is not None and self._before.closed:
            self._before = self._before._before
        each = self._before
        while each is not None and not each._sessions.hold(args):
            each = each._before
        return each

    def function_type(self, interface: str, function: str) -> FuncType:
        return self._find(interface, function)[1]

    async def serve(self, call: Call) -> Any:
        export, type = self._find(call.interface, call.function)
        if export in self._in_session:
            before = self._holder(call.args)
            if before is not None:
                return await before.serve(call)
            return await self._sessions.serve(call, export, self._deadline(call))
        slots = self.slots
        if not slots.try_acquire():
            await slots.acquire(call.deadline)
        deadline = self._deadline(call)
        context = InvocationContext(self._settings, deadline)
        if type is HANDLE_TYPE:
            return await start_http(
                self._linked, export, call.args[0], context, self._limits, deadline, done=slots.release
            )
        try:
            return await self._linked.call(export, call.args, context, self._limits, deadline=deadline)
        finally:
            context.close()
            slots.release()

    def begin(self, call: Call) -> Any:
        """As `serve`, but executes before it returns, up to where the component waits (an `EagerService`)."""
        export, type = self._find(call.interface, call.function)
        slots = self.slots
        if export in self._in_session or type is HANDLE_TYPE or not slots.try_acquire():
            return self.serve(call)
        deadline = self._deadline(call)
        context = InvocationContext(self._settings, deadline)
        running = None
        try:
            running = self._linked.start(export, call.args, context, self._limits, deadline=deadline)
            if running.done:
                return running.outcome()
            return _Rest(running, context, slots)
        finally:
            if running is None or running.done:
                context.close()
                slots.release()

    def release(self, value: object) -> None:
        """Nobody holds this resource of the component any more."""
        self._sessions.release(value)

    def close(self) -> None:
        """Ends what still lives."""
        self.closed = True
        self._sessions.close()

    def _deadline(self, call: Call) -> float:
        return min(call.deadline, asyncio.get_running_loop().time() + self.timeout)

    def _find(self, interface: str, function: str) -> tuple[ExportLike, FuncType]:
        found = self._exports.get((interface, function))
        if found is None:
            found = self._exports[interface, function] = self._look_up(interface, function)
        return found

    def _look_up(self, interface: str, function: str) -> tuple[ExportLike, FuncType]:
        export = self._linked.export(interface, function)
        if export.interface.partition("@")[0] == INCOMING_HANDLER:
            return export, HANDLE_TYPE
        if hands_out_or_takes_resources(export.type):
            self._in_session.add(export)
        return export, export.type


class _Rest:
    """A component's call that was begun and waits."""

    __slots__ = ("_context", "_running", "_slots")

    def __init__(self, running: RunningLike, context: InvocationContext, slots: Slots) -> None:
        self._running = running
        self._context = context
        self._slots = slots

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._running.result().__await__())
        finally:
            self.close()

    def close(self) -> None:
        """Ends the call and gives back its slot. To be called once, or not at all after awaiting."""
        self._running.close()
        self._context.close()
        self._slots.release()
