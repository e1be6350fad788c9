"""W3C trace context (https://www.w3.org/TR/trace-context/) to and from its two headers. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from opentelemetry.trace import SpanContext, TraceFlags, TraceState

__all__ = ["format_traceparent", "parse_traceparent"]

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MAX_TRACESTATE = 512
_KNOWN_FLAGS = 0x03
"""Sampled, and (level 2 of the standard) random trace id."""


@lru_cache(maxsize=1024)
def parse_traceparent(traceparent: str | None, tracestate: str | None = None) -> SpanContext | None:
    """The caller's span; None if there is none, or if it is malformed (the standard says: start anew)."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent and len(traceparent) <= 256 else None
    if match is None:
        return None
    version, trace, span, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest):
        return None
    state = TraceState.from_header([tracestate]) if tracestate and len(tracestate) <= _MAX_TRACESTATE else None
    context = SpanContext(int(trace, 16), int(span, 16), True, TraceFlags(int(flags, 16) & _KNOWN_FLAGS), state)
    return context if context.is_valid else None


def format_traceparent(context: SpanContext) -> str:
    """The `traceparent` of a span."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
