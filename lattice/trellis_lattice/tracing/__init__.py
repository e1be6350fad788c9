"""Tracing: W3C context through every hop, OpenTelemetry spans for the traces that are recorded."""

from opentelemetry.trace import SpanKind

from trellis_lattice.tracing.facade import ActiveSpan, Tracing
from trellis_lattice.tracing.logs import TraceIds, trace_fields
from trellis_lattice.tracing.recent import RecentSpans, SpanRecord

__all__ = ["ActiveSpan", "RecentSpans", "SpanKind", "SpanRecord", "TraceIds", "Tracing", "trace_fields"]
