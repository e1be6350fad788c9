"""The headers of requests and replies, built and parsed (docs/protocol.md, "Headers"). Pure.

    Trellis: 1 call <remaining-ms> <source> <link> <interface or -> <function> [parts]
    Trellis: 1 drop
    Trellis: 1 ok [parts]
    Trellis: 1 error
    Trellis: 1 accepted <host>
    traceparent, tracestate: as W3C has them

One short header instead of one per field, because clients parse headers on every message and character by
character. The law of this file: what a peer sent is checked here, before anything acts on it. The deadline
crosses as the time that remains, because clocks of two machines differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from trellis_lattice.errors import PeerMisbehaved, RequestInvalid

__all__ = [
    "CALL_VERSION",
    "DROP_HEADERS",
    "HEAD",
    "MAX_DEADLINE_MS",
    "REPLY_ERROR",
    "REPLY_OK",
    "REPLY_OK_PARTS",
    "TRACEPARENT",
    "TRACESTATE",
    "Address",
    "Reply",
    "RequestHead",
    "accepted_headers",
    "is_drop",
    "is_no_responders",
    "parse_reply",
    "parse_request",
    "request_headers",
]

HEAD = "Trellis"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
CALL_VERSION = "1"
MAX_DEADLINE_MS = 24 * 3600 * 1000

DROP_HEADERS = {HEAD: "1 drop"}
REPLY_OK = {HEAD: "1 ok"}
REPLY_OK_PARTS = {HEAD: "1 ok parts"}
REPLY_ERROR = {HEAD: "1 error"}

_MAX_TOKEN = 512
_SAFE = "!\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_PLAIN = re.compile(r"[!-$&-~]+")
_MILLISECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


class Reply(Enum):
    """What a message on the reply subject is."""

    OK = "ok"
    OK_PARTS = "ok parts"
    """The result, in parts: the payload is a stream reference."""
    ERROR = "error"
    ACCEPTED = "accepted"
    """Not the answer: the call lasts, and the named host executes it."""


class Address(NamedTuple):
    """What a call is for, and in whose name. The same for every call of one import over one link."""

    source: str
    link_name: str
    interface: str
    function: str
    in_parts: bool = False
    """The payload is a stream reference to the arguments, not the arguments themselves."""


class RequestHead(NamedTuple):
    """The headers of one call. `remaining_ms`: milliseconds until its deadline."""

    address: Address
    remaining_ms: int
    traceparent: str | None = None
    tracestate: str | None = None


def request_headers(
    address: Address, remaining_ms: int, traceparent: str | None, tracestate: str | None
) -> dict[str, str]:
    """The NATS headers of a call."""
    headers = {HEAD: f"{CALL_VERSION} call {remaining_ms} {_format(address)}"}
    if traceparent is not None:
        headers[TRACEPARENT] = traceparent
        if tracestate:
            headers[TRACESTATE] = tracestate
    return headers


def parse_request(headers: Mapping[str, str] | None) -> RequestHead:
    """Raises `RequestInvalid` saying what is missing or wrong."""
    text = headers.get(HEAD) if headers else None
    if headers is None or text is None:
        raise RequestInvalid(f"The request has no header {HEAD}.", remedy="docs/protocol.md says what a call needs.")
    version, _, rest = text.partition(" ")
    if version != CALL_VERSION:
        raise RequestInvalid(
            f"The request is of protocol version {version[:20]!r}; this host speaks {CALL_VERSION}.",
            remedy="Run the same major version of Trellis on both sides.",
            version=version[:20],
        )
    parts = rest.split(" ", 2)
    if len(parts) != 3 or parts[0] != "call" or not _MILLISECONDS.fullmatch(parts[1]):
        raise RequestInvalid(
            f"Header {HEAD} is {text[:80]!r}.",
            remedy=f"Expected: {CALL_VERSION} call MILLISECONDS SOURCE LINK INTERFACE FUNCTION [parts].",
        )
    return RequestHead(
        _parse(parts[2]), min(int(parts[1]), MAX_DEADLINE_MS), headers.get(TRACEPARENT), headers.get(TRACESTATE)
    )


def parse_reply(headers: Mapping[str, str] | None) -> tuple[Reply, str]:
    """What a reply is; and with `ACCEPTED`, by which host. Raises `PeerMisbehaved`."""
    text = headers.get(HEAD) if headers else None
    if text == "1 ok":
        return Reply.OK, ""
    version, _, rest = (text or "").partition(" ")
    kind, _, host = rest.partition(" ")
    if version == CALL_VERSION and kind == "accepted":
        return Reply.ACCEPTED, host
    try:
        if version == CALL_VERSION:
            return Reply(rest), ""
    except ValueError:
        pass
    shown = "missing" if text is None else repr(text[:40])
    raise PeerMisbehaved(f"The header {HEAD} of a reply is {shown}: neither ok, nor error, nor accepted.")


def accepted_headers(host: str) -> dict[str, str]:
    """Headers of the note that `host` executes a call that lasts."""
    return {HEAD: f"{CALL_VERSION} accepted {host}"}


def is_drop(headers: Mapping[str, str] | None) -> bool:
    """Whether the message says which handles are no longer used."""
    return headers is not None and headers.get(HEAD) == "1 drop"


def is_no_responders(headers: Mapping[str, str] | None, data: bytes) -> bool:
    """Whether the NATS server itself says that nobody listens to the subject."""
    return not data and headers is not None and headers.get("Status") == "503"


@lru_cache(maxsize=4096)
def _format(address: Address) -> str:
    tokens = [address.source, address.link_name, address.interface, address.function]
    text = " ".join(token if _PLAIN.fullmatch(token) else quote(token, safe=_SAFE) or "-" for token in tokens)
    return f"{text} parts" if address.in_parts else text


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address:
    tokens = text.split(" ")
    in_parts = len(tokens) == 5 and tokens[4] == "parts"
    if len(tokens) != 4 + in_parts or not all(token and len(token) <= _MAX_TOKEN for token in tokens):
        raise RequestInvalid(
            f"Header {HEAD} ends with {text[:80]!r}.", remedy="Expected: SOURCE LINK INTERFACE FUNCTION [parts]."
        )
    source, link_name, interface, function = ("" if token == "-" else unquote(token) for token in tokens[:4])
    return Address(source, link_name, interface, function, in_parts)
