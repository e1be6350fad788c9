"""The spans of recent traces, in memory, bounded: what `trellis trace ID` shows without any collector."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from trellis_lattice.errors import PeerMisbehaved

__all__ = ["RecentSpans", "SpanRecord"]

CAPACITY = 20_000
"""Spans kept by one host; the oldest traces go first."""


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One ended span. Times are nanoseconds since 1970; `parent_id` is empty for a root."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    status: str
    """`unset`, `ok` or `error`."""
    message: str
    host: str
    attributes: Mapping[str, Any]

    @property
    def duration(self) -> float:
        """In seconds."""
        return (self.end - self.start) / 1e9

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Raises `PeerMisbehaved` naming the first field that is missing or wrong."""
        if not isinstance(wire, dict):
            raise PeerMisbehaved("A span is not a map.")
        for name, kind in _FIELDS.items():
            if not isinstance(wire.get(name), kind) or isinstance(wire.get(name), bool):
                raise PeerMisbehaved(f"Field {name!r} of a span is missing or not {kind.__name__}.")
        return cls(**{name: wire[name] for name in _FIELDS})


_TEXTS = ("trace_id", "span_id", "parent_id", "name", "kind", "status", "message", "host")
_FIELDS: Mapping[str, type] = {**dict.fromkeys(_TEXTS, str), "start": int, "end": int, "attributes": dict}


class RecentSpans(SpanProcessor):
    """Keeps what was recorded, by trace."""

    def __init__(self, host: str = "", capacity: int = CAPACITY) -> None:
        self._host = host
        self._capacity = capacity
        self._size = 0
        self._traces: OrderedDict[int, list[ReadableSpan]] = OrderedDict()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing: only ended spans are kept."""

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is None:
            return
        self._traces.setdefault(context.trace_id, []).append(span)
        self._size += 1
        while self._size > self._capacity:
            trace_id, spans = self._traces.popitem(last=False)
            kept = spans[self._capacity // 2 :] if trace_id == context.trace_id else []
            self._size -= len(spans) - len(kept)
            if kept:
                self._traces[trace_id] = kept

    def shutdown(self) -> None:
        self._traces.clear()
        self._size = 0

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True

    def __len__(self) -> int:
        """How many spans are kept."""
        return self._size

    def trace_ids(self) -> list[str]:
        """The traces that are kept, oldest first."""
        return [f"{trace_id:032x}" for trace_id in self._traces]

    def get(self, trace_id: str) -> list[SpanRecord]:
        """The ended spans of a trace (32 hexadecimal digits), in the order they ended; empty if unknown."""
        try:
            key = int(trace_id, 16)
        except ValueError:
            return []
        return [self._record(span) for span in self._traces.get(key, ())]

    def _record(self, span: ReadableSpan) -> SpanRecord:
        context = span.get_span_context()
        assert context is not None  # on_end keeps no other
        return SpanRecord(
            trace_id=f"{context.trace_id:032x}",
            span_id=f"{context.span_id:016x}",
            parent_id=f"{span.parent.span_id:016x}" if span.parent else "",
            name=span.name,
            kind=span.kind.name.lower(),
            start=span.start_time or 0,
            end=span.end_time or 0,
            status=span.status.status_code.name.lower(),
            message=span.status.description or "",
            host=self._host,
            attributes={
                key: list(value) if isinstance(value, tuple) else value
                for key, value in (span.attributes or {}).items()
            },
        )
