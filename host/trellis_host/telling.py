"""What this host tells to whoever asks: its recent log and events, new log records, and calls.

The laws of this file: what is remembered is bounded; nothing is sent while nobody asks; a record is told by the
host it belongs to, also where several hosts share a process; telling of a record never makes another.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from trellis_lattice.bus.connection import Connection, Subscription
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.follow.calls import CallWatch
from trellis_lattice.follow.followers import Ring
from trellis_lattice.follow.records import LogFilter, LogRecord, cut
from trellis_lattice.follow.server import FollowPoint, serve_recent
from trellis_lattice.follow.subjects import EVENTS, LOGS
from trellis_lattice.tracing.logs import trace_fields

__all__ = ["Telling", "enter"]

LOG_RECORDS = 2000
LOG_SIZE = 2 * 1024 * 1024
"""Characters of the log records that are remembered."""
EVENT_RECORDS = 256
EVENT_SIZE = 1024 * 1024
MAX_SINCE = 10**9
_HEARTBEAT = b"host_heartbeat"
_PROVIDER = "trellis.provider."
_HOST = "trellis.host"
_ABOUT = ("Component %s", "Provider %s", "Compiling %s")
_OWN = "trellis.follow"

_here: ContextVar[str] = ContextVar("trellis_host", default="")
"""The host whose work runs: log records are made deep inside of it."""


def enter(host: str) -> None:
    """All that the current task does from here on, and what it starts, is the work of this host."""
    _here.set(host)


class _Told:
    """An event as it was sent."""

    __slots__ = ("at", "wire")

    def __init__(self, wire: dict[str, Any]) -> None:
        self.wire = wire
        self.at = time.monotonic()

    def to_wire(self) -> dict[str, Any]:
        return self.wire


class Telling:
    """What one host tells. Made by `start`, ended by `aclose`."""

    def __init__(self, connection: Connection, lattice: str, host: str) -> None:
        self.calls = CallWatch(connection, lattice, host)
        self._connection = connection
        self._lattice = lattice
        self._host = host
        self._logs: Ring[LogRecord] = Ring(LOG_RECORDS, LOG_SIZE)
        self._events: Ring[_Told] = Ring(EVENT_RECORDS, EVENT_SIZE)
        self._point: FollowPoint[LogFilter] = FollowPoint(connection, lattice, host, LOGS, LogFilter.from_wire)
        self._handler = _Handler(host, self._on_log)
        self._answers: list[Subscription] = []

    async def start(self) -> None:
        logging.getLogger().addHandler(self._handler)
        self._handler.loop = asyncio.get_running_loop()
        await self._point.start()
        await self.calls.start()
        for kind, look_up in ((LOGS, self._recent_logs), (EVENTS, self._recent_events)):
            self._answers.append(await serve_recent(self._connection, self._lattice, self._host, kind, look_up))

    async def aclose(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        for answer in self._answers:
            await answer.unsubscribe()
        await self._point.aclose()
        await self.calls.aclose()

    def event_sent(self, payload: bytes) -> None:
        """Remembers an event of this host; heartbeats are state, not news."""
        if _HEARTBEAT in payload[:512]:
            return
        self._events.append(_Told(json.loads(payload)), len(payload))

    def _on_log(self, record: LogRecord) -> None:
        self._logs.append(record, len(record.message) + 128)
        if self._point.active:
            self._point.offer(lambda wants: record.to_wire() if wants.admits(record) else None)

    def _recent_logs(self, request: object) -> tuple[list[dict[str, Any]], bool] | None:
        wants = LogFilter.from_wire(request)
        if wants.hosts and self._host not in wants.hosts:
            return None
        oldest = time.time_ns() - int(wants.since * 1e9) if wants.since else 0
        found, more = self._logs.newest(wants.limit, lambda record: record.time >= oldest and wants.admits(record))
        return [record.to_wire() for record in found], more

    def _recent_events(self, request: object) -> tuple[list[dict[str, Any]], bool]:
        if not isinstance(request, dict):
            raise RequestInvalid("The request is not a JSON object.")
        since = request.get("since", 0)
        if isinstance(since, bool) or not isinstance(since, int | float) or not 0 <= since <= MAX_SINCE:
            raise RequestInvalid(f"since is no number of seconds from 0 to {MAX_SINCE}.", key="since")
        # Ages, not times: whoever asks has another clock.
        oldest = time.monotonic() - since if since else -math.inf
        found, more = self._events.newest(EVENT_RECORDS, lambda told: told.at >= oldest)
        return [told.wire for told in found], more


class _Handler(logging.Handler):
    """Turns the log records of one host into ours, in the order in which they were made."""

    def __init__(self, host: str, sink: Callable[[LogRecord], None]) -> None:
        super().__init__()
        self._host = host
        self._sink = sink
        self._thread = threading.get_ident()
        self.loop: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if _here.get() not in ("", self._host) or record.name == _OWN:
            return
        told = self._told(record)
        if threading.get_ident() == self._thread:
            self._sink(told)
        elif self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._sink, told)

    def _told(self, record: logging.LogRecord) -> LogRecord:
        component = getattr(record, "component", "")
        if not component and record.name.startswith(_PROVIDER):
            component = record.name.removeprefix(_PROVIDER)
        elif not component and record.name == _HOST and isinstance(record.args, tuple) and record.args:
            # what the host says about a workload belongs to that workload's log
            component = record.args[0] if str(record.msg).startswith(_ABOUT) else ""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{logging.Formatter().formatException(record.exc_info)}"
        return LogRecord(
            time=int(record.created * 1e9),
            host=self._host,
            component=str(component),
            source=str(getattr(record, "source", record.name)),
            level=_level(record.levelno),
            message=cut(message),
            trace_id=str(getattr(record, "trace_id", "") or trace_fields()["trace_id"]),
        )


def _level(number: int) -> str:
    for least, name in ((50, "critical"), (40, "error"), (30, "warn"), (20, "info"), (10, "debug")):
        if number >= least:
            return name
    return "trace"
