"""Trace ids in log records."""

from __future__ import annotations

import logging

from opentelemetry import trace

__all__ = ["TraceIds"]


class TraceIds(logging.Filter):
    """Adds `trace_id` and `span_id` (hexadecimal, empty outside of a trace) to every record of a handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = trace.get_current_span().get_span_context()
        record.trace_id = f"{context.trace_id:032x}" if context.is_valid else ""
        record.span_id = f"{context.span_id:016x}" if context.is_valid else ""
        return True
