"""Calls, told to those who spy on them: what a host does around each call while somebody does.

The laws of this file: while nobody spies a call pays for one look at `active`; every call is told once, by the host
that executes it, or, if nobody answers it, by the host that made it; what is told never changes what the call does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry import trace

from trellis_lattice.bus.connection import Connection
from trellis_lattice.errors import RequestInvalid, TrellisError, Unavailable
from trellis_lattice.follow.records import MAX_PAYLOAD, CallFilter, CallRecord, cut
from trellis_lattice.follow.server import FollowPoint
from trellis_lattice.follow.subjects import CALLS
from trellis_lattice.invocation.api import Call
from trellis_lattice.wit.json import to_json
from trellis_lattice.wit.values import Err

__all__ = ["CallWatch", "WatchedCall"]


class CallWatch:
    """The calls of one host, for its spies."""

    def __init__(
        self, connection: Connection, lattice: str, host: str, *, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._point: FollowPoint[CallFilter] = FollowPoint(connection, lattice, host, CALLS, CallFilter.from_wire)
        self._clock = clock

    @property
    def active(self) -> bool:
        """Whether anybody spies at all."""
        return self._point.active

    async def start(self) -> None:
        await self._point.start()

    async def aclose(self) -> None:
        await self._point.aclose()

    def watched(self, call: Call, route: str, request_bytes: int | None = None) -> WatchedCall | None:
        """The call, if somebody wants to know of it; to be told how it ended."""
        if not self._point.active:
            return None
        wanted = [
            each for each in self._point.wants if each.wants(call.source, call.target, call.interface, call.function)
        ]
        if not wanted:
            return None
        return WatchedCall(self, call, route, request_bytes, payloads=any(each.payloads for each in wanted))

    async def serve(self, watched: WatchedCall, work: Awaitable[Any]) -> Any:
        """What the work gives, told when it is done."""
        try:
            value = await work
        except BaseException as error:
            watched.failed(error)
            raise
        watched.done(value)
        return value

    async def unanswered(self, watched: WatchedCall, work: Awaitable[Any]) -> Any:
        """As `serve`, for a call that is executed elsewhere: told only if nobody there could."""
        try:
            return await work
        except Unavailable as error:
            if error.fields.get("reason") == "no-answerer":
                watched.failed(error)
            raise

    def _now(self) -> int:
        return self._clock()

    def _tell(self, record: CallRecord) -> None:
        bare = record.to_wire()
        secret = {key: value for key, value in bare.items() if key not in ("args", "result")}

        def render(wants: CallFilter) -> dict[str, Any] | None:
            if not wants.admits(record):
                return None
            return bare if wants.payloads else secret

        self._point.offer(render)


class WatchedCall:
    """One call that somebody wants to know of."""

    __slots__ = ("_args", "_began", "_call", "_payloads", "_request_bytes", "_route", "_trace", "_watch")

    def __init__(self, watch: CallWatch, call: Call, route: str, request_bytes: int | None, *, payloads: bool) -> None:
        self._watch = watch
        self._call = call
        self._route = route
        self._request_bytes = request_bytes
        self._payloads = payloads
        self._args = _arguments(call) if payloads else None
        self._began = watch._now()
        context = trace.get_current_span().get_span_context()
        self._trace = f"{context.trace_id:032x}" if context.is_valid else ""

    def done(self, value: Any, response_bytes: int | None = None) -> None:
        """It gave a result."""
        outcome = "err" if isinstance(value, Err) else "ok"
        result = _shown(self._call.type.result, value) if self._payloads else None
        self._end(outcome, "", result, response_bytes)

    def failed(self, error: BaseException) -> None:
        """It raised."""
        if isinstance(error, asyncio.CancelledError):
            self._end("cancelled", "The caller no longer waited.", None, None)
        elif isinstance(error, TrellisError):
            self._end(error.code, cut(error.message, 512), None, None)
        else:
            self._end("internal", cut(f"{type(error).__name__}: {error}", 512), None, None)

    def _end(self, outcome: str, message: str, result: str | None, response_bytes: int | None) -> None:
        call = self._call
        self._watch._tell(
            CallRecord(
                time=self._began,
                host=self._watch._point.host,
                source=call.source,
                target=call.target,
                link_name=call.link_name,
                interface=call.interface,
                function=call.function,
                route=self._route,
                duration=max(0, self._watch._now() - self._began),
                outcome=outcome,
                message=message,
                trace_id=self._trace,
                request_bytes=self._request_bytes,
                response_bytes=response_bytes,
                args=self._args,
                result=result,
            )
        )


def _arguments(call: Call) -> str | None:
    params = call.type.params
    if len(params) != len(call.args):
        return None
    shown = [_shown(of, arg) or "?" for (_, of), arg in zip(params, call.args, strict=True)]
    return cut(f"[{', '.join(shown)}]", MAX_PAYLOAD)


def _shown(type: Any, value: Any) -> str | None:
    """A value as JSON; what has no JSON form, such as an HTTP request, by the name of its kind."""
    if type is None:
        return None
    try:
        return cut(json.dumps(to_json(type, value), ensure_ascii=False), MAX_PAYLOAD)
    except (TypeError, ValueError, AttributeError, KeyError, RequestInvalid):
        return f'"<{value.__class__.__name__}>"'
