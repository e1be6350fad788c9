"""The thin layer between Trellis and OpenTelemetry.

The laws of this file: the trace context flows whether or not it is recorded; a span below one that is not
recorded costs next to nothing (no span is made, the caller's context stays); a span ends with the `with`
block, and an error that leaves the block sets its status. No module global holds anything of a host.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from trellis_lattice.errors import TrellisError
from trellis_lattice.tracing.w3c import format_traceparent, parse_traceparent

if TYPE_CHECKING:
    from trellis_lattice.invocation.api import Call
    from trellis_lattice.tracing.recent import RecentSpans
    from trellis_lattice.tracing.sampling import TraceBudget

__all__ = ["ActiveSpan", "Tracing"]

_log = logging.getLogger("trellis.tracing")

Attributes = Mapping[str, AttributeValue]


class ActiveSpan:
    """One `with` block of a trace. `recording` says whether anybody will see what is `set`."""

    __slots__ = ("_attributes", "_kind", "_name", "_parent", "_span", "_token", "_tracer", "recording")

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        kind: SpanKind,
        attributes: Attributes | None = None,
        parent: SpanContext | None = None,
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._parent = parent
        self._span: Span = trace.INVALID_SPAN
        self._token: Any = None
        self.recording = False

    def __enter__(self) -> ActiveSpan:
        parent = self._parent
        below = None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
        span = self._tracer.start_span(self._name, below, self._kind, self._attributes)
        self._span = span
        self.recording = span.is_recording()
        self._token = otel_context.attach(trace.set_span_in_context(span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and self.recording:
            self.fail(error)
        if self._token is not None:
            otel_context.detach(self._token)
        if self.recording:
            self._span.end()

    @property
    def context(self) -> SpanContext:
        return self._span.get_span_context()

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def set(self, key: str, value: AttributeValue) -> None:
        if self.recording:
            self._span.set_attribute(key, value)

    def rename(self, name: str) -> None:
        """Once a better name is known, e.g. the route."""
        if self.recording:
            self._span.update_name(name)

    def fail(self, error: BaseException | str) -> None:
        """Marks the span as failed; for failures that are not exceptions of its block."""
        if not self.recording:
            return
        if isinstance(error, asyncio.CancelledError):
            kind, text = "cancelled", "The caller no longer waited."
        elif isinstance(error, TrellisError):
            kind, text = error.code, error.message
        elif isinstance(error, BaseException):
            kind, text = type(error).__qualname__, str(error)
        else:
            kind, text = "error", error
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR, text[:1024]))


class UnrecordedSpan(ActiveSpan):
    """A block within a trace that is not recorded. `current`: its context is here already, and stays."""

    __slots__ = ("_current",)

    def __init__(self, span: Span, current: bool) -> None:
        self._span = span
        self._current = current
        self.recording = False

    def __enter__(self) -> ActiveSpan:
        if not self._current:
            self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._current:
            otel_context.detach(self._token)


class _UnrecordedRoot(NonRecordingSpan):
    """The top of a new trace that is not recorded. Most of them end without anybody having asked for their ids."""

    def __init__(self) -> None:
        self._made: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        if self._made is None:
            self._made = SpanContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, is_remote=False)
        return self._made


class Tracing:
    """Makes spans and carries their context. Without a tracer nothing is recorded, and context still flows.

    `budget` says which new traces are recorded; without one the sampler of the tracer's provider does.
    """

    def __init__(
        self,
        tracer: Tracer | None = None,
        *,
        recent: RecentSpans | None = None,
        provider: Any = None,
        budget: TraceBudget | None = None,
    ) -> None:
        self._tracer: Tracer = tracer if tracer is not None else trace.NoOpTracer()
        self._provider = provider
        self._budget = budget
        self.recent = recent
        """The spans kept in memory for `trellis trace`, if any."""

    def span(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        *,
        parent: SpanContext | None = None,
    ) -> ActiveSpan:
        """A span around a `with` block, below `parent` (from another process) or else the current span."""
        return self._unrecorded(parent) or ActiveSpan(self._tracer, name, kind, attributes, parent)

    def invocation_span(
        self, call: Call, kind: SpanKind, *, parent: SpanContext | None = None, component: str | None = None
    ) -> ActiveSpan:
        """The span of one invocation, by the RPC conventions. `call.attributes` go in at its start."""
        unrecorded = self._unrecorded(parent)
        if unrecorded is not None:
            return unrecorded
        interface = call.interface.partition("@")[0]
        attributes: dict[str, AttributeValue] = {
            "rpc.system": "trellis",
            "rpc.service": interface,
            "rpc.method": call.function,
            "trellis.component": component or call.target,
            "trellis.source": call.source,
            "trellis.link": call.link_name,
            **call.attributes,
        }
        return ActiveSpan(self._tracer, f"{interface}/{call.function}", kind, attributes, parent)

    def http_server_span(
        self,
        method: str,
        path_with_query: str | None,
        *,
        headers: Iterable[tuple[str, bytes]],
        scheme: str | None = None,
    ) -> ActiveSpan:
        """The server span of one HTTP request, below the `traceparent` in its headers if it has one."""
        parent = self.extract(headers)
        unrecorded = self._unrecorded(parent)
        if unrecorded is not None:
            return unrecorded
        path, _, query = (path_with_query or "").partition("?")
        attributes: dict[str, AttributeValue] = {"http.request.method": method, "url.path": path}
        if query:
            attributes["url.query"] = query
        if scheme:
            attributes["url.scheme"] = scheme
        return ActiveSpan(self._tracer, method, SpanKind.SERVER, attributes, parent)

    @staticmethod
    def unrecorded() -> bool:
        """Whether what begins here is part of a trace that is not recorded."""
        current = trace.get_current_span()
        if type(current) is _UnrecordedRoot:
            return True
        context = current.get_span_context()
        return context.is_valid and not context.trace_flags & 1

    def _unrecorded(self, parent: SpanContext | None) -> UnrecordedSpan | None:
        """The span of a block that is not to be recorded; None for any other. Asks the budget at a trace's top."""
        if parent is not None:
            return None if parent.trace_flags & 1 else UnrecordedSpan(NonRecordingSpan(parent), current=False)
        current = trace.get_current_span()
        if type(current) is _UnrecordedRoot:
            return UnrecordedSpan(current, current=True)
        context = current.get_span_context()
        if context.is_valid:
            return None if context.trace_flags & 1 else UnrecordedSpan(current, current=True)
        if self._budget is None or self._budget.admits():
            return None
        return UnrecordedSpan(_UnrecordedRoot(), current=False)

    @staticmethod
    def http_response(span: ActiveSpan, status: int) -> None:
        """Notes the answer on a server span: a 5xx is the server's failure."""
        span.set("http.response.status_code", status)
        if status >= 500:
            span.fail(f"HTTP {status}")

    @staticmethod
    def extract(headers: Iterable[tuple[str, bytes]]) -> SpanContext | None:
        """The caller's span from HTTP header fields (names in lower case)."""
        parent = state = None
        for name, value in headers:
            if name == "traceparent":
                parent = value.decode("ascii", "replace")
            elif name == "tracestate":
                state = value.decode("ascii", "replace")
        return parse_traceparent(parent, state) if parent is not None else None

    @staticmethod
    def inject() -> tuple[str | None, str | None]:
        """`traceparent` and `tracestate` of the current span; None, None outside of any trace."""
        current = trace.get_current_span().get_span_context()
        if not current.is_valid:
            return None, None
        return format_traceparent(current), current.trace_state.to_header() or None

    def inject_http(self, headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """The fields with the current span in place of any trace context they carry."""
        parent, state = self.inject()
        if parent is None:
            return list(headers)
        kept = [field for field in headers if field[0] not in ("traceparent", "tracestate")]
        kept.append(("traceparent", parent.encode()))
        if state:
            kept.append(("tracestate", state.encode()))
        return kept

    async def aclose(self) -> None:
        """Sends what waits to be exported. Does not block the event loop; takes as long as the exporter's timeout."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.shutdown)
