"""Errors as HTTP answers. Pure.

A client learns what it can act on. What a component or provider says of its own failure stays in the log,
where the trace id that the client gets leads to.
"""

from __future__ import annotations

import http
import math
from dataclasses import dataclass

from trellis_lattice.errors import (
    ConfigError,
    Conflict,
    DeadlineExceeded,
    Denied,
    InvocationFailed,
    NotFound,
    Overloaded,
    PeerMisbehaved,
    RequestInvalid,
    TrellisError,
    Unavailable,
)

__all__ = ["Answer", "BodyTooLarge", "RequestTimeout", "answer_error", "plain"]

Headers = list[tuple[bytes, bytes]]


class BodyTooLarge(RequestInvalid):
    """The request body is longer than the link allows."""


class RequestTimeout(RequestInvalid):
    """The client took too long to send its request."""


_STATUS: dict[type[TrellisError], int] = {
    RequestInvalid: 400,
    BodyTooLarge: 413,
    RequestTimeout: 408,
    Denied: 403,
    Conflict: 409,
    NotFound: 502,
    PeerMisbehaved: 502,
    Unavailable: 503,
    Overloaded: 503,
    DeadlineExceeded: 504,
    InvocationFailed: 500,
    ConfigError: 500,
}
_TEXT: dict[int, str] = {
    500: "The component failed.",
    502: "The component cannot answer HTTP requests.",
    503: "The component is not available at the moment.",
    504: "The component did not answer in time.",
}
_MAX_RETRY_AFTER = 3600


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete plain-text answer."""

    status: int
    headers: Headers
    body: bytes


def plain(status: int, text: str, headers: Headers | None = None) -> Answer:
    """`text` becomes the body, as one line."""
    phrase = http.HTTPStatus(status).phrase
    body = f"{status} {phrase}: {text}\n".encode()
    fixed = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    return Answer(status, [*fixed, *(headers or [])], body)


def answer_error(error: TrellisError, trace_id: str | None) -> Answer:
    """What a client gets for an error. `trace_id`: 32 hex digits, to find the request's trace and log."""
    status = _STATUS.get(type(error), 500)
    text = _TEXT.get(status, error.message)
    headers: Headers = []
    if trace_id is not None:
        text = f"{text} Trace {trace_id}."
        headers.append((b"x-trace-id", trace_id.encode()))
    if status == 503:
        headers.append((b"retry-after", b"%d" % _retry_after(error)))
    if error.fields.get("maybe_executed"):
        # Whoever repeats the request may have its effects twice.
        headers.append((b"x-maybe-executed", b"true"))
    return plain(status, text, headers)


def _retry_after(error: TrellisError) -> int:
    seconds = getattr(error, "retry_after", None) or 1.0
    return min(max(1, math.ceil(seconds)), _MAX_RETRY_AFTER)
