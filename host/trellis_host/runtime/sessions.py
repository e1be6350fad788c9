"""Sandboxes that outlive one call, because the component gave a resource of its own away.

The laws of this file: a session begins with the call that hands out its first resource and ends when the last
one is given back, when the component traps, or when its component leaves; it holds a slot as long as it lives;
calls in one session happen one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from trellis_host.engine import ComponentResource, Limits
from trellis_host.runtime.engines import ExportLike, LinkedLike, SandboxLike
from trellis_host.runtime.imports import InvocationContext
from trellis_host.runtime.slots import Slots
from trellis_lattice.errors import Unavailable
from trellis_lattice.invocation.api import Call
from trellis_lattice.wit.types import FuncType, resources_in

__all__ = ["Sessions", "hands_out_or_takes_resources"]


def hands_out_or_takes_resources(type: FuncType) -> bool:
    """Whether values of the function may hold resources."""
    return any(True for part in (*(each for _, each in type.params), type.result) for _ in resources_in(part))


class _Session:
    __slots__ = ("context", "sandbox", "turn")

    def __init__(self, sandbox: SandboxLike, context: InvocationContext) -> None:
        self.sandbox = sandbox
        self.context = context
        self.turn = asyncio.Lock()


class Sessions:
    """The sessions of one component."""

    def __init__(
        self, linked: LinkedLike, limits: Limits, slots: Slots, new_context: Callable[[float], InvocationContext]
    ) -> None:
        self._linked = linked
        self._limits = limits
        self._slots = slots
        self._new_context = new_context
        self._open: dict[object, _Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, call: Call, export: ExportLike, deadline: float) -> Any:
        """One call: in the session that its resources belong to, or in a new one."""
        session = self._session_of(call.args) or await self._begin(deadline, call.deadline)
        async with session.turn:
            session.context.deadline = deadline
            try:
                return await session.sandbox.call(export, call.args, deadline)
            finally:
                self._end_if_unused(session)

    def hold(self, args: Sequence[Any]) -> bool:
        """Whether one of these is a resource of a session here."""
        return any(isinstance(arg, ComponentResource) and arg.space in self._open for arg in args)

    def release(self, value: object) -> None:
        """Nobody holds this resource any more. Ignores what is not a resource of this component."""
        if isinstance(value, ComponentResource) and value.space in self._open:
            session = self._open[value.space]
            session.sandbox.forget(value)
            if not session.turn.locked():
                self._end_if_unused(session)

    def close(self) -> None:
        """Ends all sessions."""
        for session in tuple(self._open.values()):
            self._end(session)

    def _session_of(self, args: Sequence[Any]) -> _Session | None:
        for arg in args:
            if isinstance(arg, ComponentResource):
                session = self._open.get(arg.space) if arg.space is not None else None
                if session is None:
                    raise Unavailable(
                        f"The instance of component {self._linked.name!r} that held {arg!r} is gone.",
                        remedy="Make the resource again.",
                        reason="owner-gone",
                    )
                return session
        return None

    async def _begin(self, deadline: float, patience: float) -> _Session:
        await self._slots.acquire(patience)
        context = self._new_context(deadline)
        try:
            sandbox = await self._linked.sandbox(context, self._limits, deadline=deadline)
        except BaseException:
            context.close()
            self._slots.release()
            raise
        session = self._open[sandbox] = _Session(sandbox, context)
        return session

    def _end_if_unused(self, session: _Session) -> None:
        if session.sandbox.closed or not session.sandbox.kept:
            self._end(session)

    def _end(self, session: _Session) -> None:
        if self._open.pop(session.sandbox, None) is not None:
            session.sandbox.close()
            session.context.close()
            self._slots.release()
