"""Headers of requests and replies, built and parsed (docs/protocol.md, "Headers"). Pure.

The law of this file: what a peer sent is checked here, before anything acts on it. The deadline crosses as
the time that remains, because clocks of two machines differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from trellis_lattice.errors import PeerMisbehaved, RequestInvalid

__all__ = [
    "BODY",
    "DEADLINE_MS",
    "DROP",
    "FUNCTION",
    "HOST",
    "INTERFACE",
    "LINK",
    "MAX_DEADLINE_MS",
    "NO_RESPONDERS",
    "PARTS",
    "REPLY_ERROR",
    "REPLY_OK",
    "SOURCE",
    "STATUS",
    "TRACEPARENT",
    "TRACESTATE",
    "VERSION",
    "VERSION_VALUE",
    "ReplyStatus",
    "RequestHead",
    "accepted_headers",
    "is_no_responders",
    "parse_request",
    "reply_status",
    "request_headers",
]

VERSION = "Trellis-Version"
VERSION_VALUE = "1"
INTERFACE = "Trellis-Interface"
FUNCTION = "Trellis-Function"
SOURCE = "Trellis-Source"
LINK = "Trellis-Link"
DEADLINE_MS = "Trellis-Deadline-Ms"
STATUS = "Trellis-Status"
BODY = "Trellis-Body"
PARTS = "parts"
HOST = "Trellis-Host"
DROP = "Trellis-Drop"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

MAX_DEADLINE_MS = 24 * 3600 * 1000
_MAX_VALUE = 512
_NATS_STATUS = "Status"
NO_RESPONDERS = "503"


class ReplyStatus(Enum):
    """What a message on the reply subject is."""

    OK = "ok"
    ERROR = "error"
    ACCEPTED = "accepted"
    """Not the answer: the call lasts, and this host executes it."""


REPLY_OK: dict[str, str] = {STATUS: ReplyStatus.OK.value}
REPLY_ERROR: dict[str, str] = {STATUS: ReplyStatus.ERROR.value}


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The headers of one call. `remaining_ms`: milliseconds until its deadline."""

    interface: str
    function: str
    source: str
    link_name: str
    remaining_ms: int
    traceparent: str | None = None
    tracestate: str | None = None
    in_parts: bool = False
    """The payload is a stream reference to the arguments, not the arguments themselves."""


def request_headers(head: RequestHead) -> dict[str, str]:
    """The NATS headers of a call."""
    headers = {
        VERSION: VERSION_VALUE,
        INTERFACE: head.interface,
        FUNCTION: head.function,
        SOURCE: head.source,
        LINK: head.link_name,
        DEADLINE_MS: str(head.remaining_ms),
    }
    if head.traceparent is not None:
        headers[TRACEPARENT] = head.traceparent
        if head.tracestate:
            headers[TRACESTATE] = head.tracestate
    if head.in_parts:
        headers[BODY] = PARTS
    return headers


def parse_request(headers: Mapping[str, str] | None) -> RequestHead:
    """Raises `RequestInvalid` naming the header that is missing or wrong."""
    if headers is None:
        raise RequestInvalid("The request has no headers.", remedy=f"A call needs at least {VERSION} and {FUNCTION}.")
    version = headers.get(VERSION)
    if version != VERSION_VALUE:
        raise RequestInvalid(
            f"The request is of protocol version {_shown(version)}; this host speaks {VERSION_VALUE}.",
            remedy="Run the same major version of Trellis on both sides.",
            version=version and version[:20],
        )
    function = headers.get(FUNCTION, "")
    if not function or len(function) > _MAX_VALUE:
        raise RequestInvalid(f"Header {FUNCTION} is missing or too long.", header=FUNCTION)
    return RequestHead(
        interface=headers.get(INTERFACE, ""),
        function=function,
        source=headers.get(SOURCE, ""),
        link_name=headers.get(LINK, "default"),
        remaining_ms=_remaining(headers.get(DEADLINE_MS)),
        traceparent=headers.get(TRACEPARENT),
        tracestate=headers.get(TRACESTATE),
        in_parts=_in_parts(headers),
    )


def reply_status(headers: Mapping[str, str] | None) -> tuple[ReplyStatus, bool]:
    """What a reply is, and whether its payload comes in parts. Raises `PeerMisbehaved`."""
    text = headers.get(STATUS) if headers else None
    if text == "ok":
        return ReplyStatus.OK, BODY in headers if headers else False
    try:
        status = ReplyStatus(text)
    except ValueError:
        raise PeerMisbehaved(f"A reply has {STATUS} {_shown(text)}, which is none of ok, error, accepted.") from None
    return status, False


def accepted_headers(host: str) -> dict[str, str]:
    """Headers of the note that `host` executes a call that lasts."""
    return {STATUS: ReplyStatus.ACCEPTED.value, HOST: host}


def is_no_responders(headers: Mapping[str, str] | None, data: bytes) -> bool:
    """Whether the NATS server itself says that nobody listens to the subject."""
    return not data and headers is not None and headers.get(_NATS_STATUS) == NO_RESPONDERS


def _remaining(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 12:
        raise RequestInvalid(
            f"Header {DEADLINE_MS} is {_shown(text)}.", remedy="Send the milliseconds that remain.", header=DEADLINE_MS
        )
    return min(int(text), MAX_DEADLINE_MS)


def _in_parts(headers: Mapping[str, str]) -> bool:
    body = headers.get(BODY)
    if body is not None and body != PARTS:
        raise RequestInvalid(f"Header {BODY} is {_shown(body)}.", remedy=f"Leave it out, or send {PARTS}.", header=BODY)
    return body is not None


def _shown(text: str | None) -> str:
    return "missing" if text is None else repr(text[:40])
