"""Trace ids in log records."""

from __future__ import annotations

import logging

from opentelemetry import trace

__all__ = ["TraceIds", "trace_fields"]


def trace_fields() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, hexadecimal, empty outside of a trace: `extra` of a log call
    whose record must carry them whatever handler it meets."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {"trace_id": "", "span_id": ""}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


class TraceIds(logging.Filter):
    """Adds `trace_id` and `span_id` to every record of a handler that has none yet."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "trace_id"):
            record.__dict__.update(trace_fields())
        return True
