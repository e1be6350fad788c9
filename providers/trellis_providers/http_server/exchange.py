"""Between ASGI and `trellis_lattice.http`: the request on its way in, the response on its way out.

The laws of this file: hop-by-hop fields end here, in both directions (RFC 9110, 7.6.1); a body that is complete
goes out with its length in one piece, any other as it comes, no faster than the client takes it; an answer that
cannot be finished is cut off, so that no client takes it for complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from trellis_lattice.errors import RequestInvalid, TrellisError, Unavailable
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import EMPTY, BytesBody, ByteStream, Fields, Pipe, read_all

from .answers import Answer, BodyTooLarge, RequestTimeout
from .connection import Connection

__all__ = [
    "CutOff",
    "Incoming",
    "Receive",
    "RequestBody",
    "Scope",
    "Send",
    "attach_body",
    "read_head",
    "send_answer",
    "send_response",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_INLINE_BODY = 64 * 1024
"""A request body up to this length is read before the component starts, so that a slow client holds no slot."""
_CHUNK = 64 * 1024
_MAX_HTTP10_BODY = 8 * 1024 * 1024
_LINGER_BYTES = 256 * 1024
_LINGER_SECONDS = 1.0

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings")
)
_NOT_FORWARDED = _HOP_BY_HOP | {"expect"}
_NOT_SENT = _HOP_BY_HOP | {"date"}
_COMMON = (
    *("accept", "accept-encoding", "accept-language", "authorization", "cache-control", "content-length"),
    *("content-type", "cookie", "host", "if-modified-since", "if-none-match", "origin", "range", "referer"),
    *("sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "traceparent", "tracestate", "user-agent"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"),
)
_NAMES = {name.encode(): (None if name in _NOT_FORWARDED else name) for name in (*_COMMON, *_NOT_FORWARDED)}
"""Names as text, so that the usual ones are not decoded for each request; None: not forwarded."""


class RequestBody:
    """The body of a request as it arrives. Asking for it is what makes the server say `100 Continue`."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self._limit = limit
        self._chunk = b""
        self._ended = False

    async def read(self, limit: int) -> bytes:
        while not self._chunk and not self._ended:
            await self._next()
        chunk, self._chunk = self._chunk[:limit], self._chunk[limit:]
        return chunk

    async def trailers(self) -> Fields | None:
        while not self._ended:
            await self._next()
        return None

    async def aclose(self) -> None:
        self._ended, self._chunk = True, b""

    async def _next(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Unavailable("The client went away before its request was complete.", maybe_executed=True)
        self._chunk = message["body"]
        self._ended = not message["more_body"]
        self._left -= len(self._chunk)
        if self._left < 0:
            raise BodyTooLarge(f"The request body is longer than {self._limit} bytes.", limit=self._limit)


@dataclass(slots=True)
class Incoming:
    """A request whose body was not asked for yet, and what its head says of the body."""

    request: HttpRequest
    length: int | None
    chunked: bool
    expects: bool


def read_head(scope: Scope) -> Incoming:
    """The head of a request as the component gets it."""
    headers: Fields = []
    length: int | None = None
    chunked = expects = False
    host: str | None = None
    listed = ""
    for raw, value in scope["headers"]:
        name = _NAMES.get(raw, "")
        if name:
            headers.append((name, value))
            if name == "host":
                host = value.decode("latin-1")
            elif name == "content-length":
                length = int(value)
        elif name is None:
            chunked = chunked or raw == b"transfer-encoding"
            expects = expects or raw == b"expect"
            if raw == b"connection":
                listed = value.decode("latin-1").lower()
        else:
            headers.append((raw.decode("latin-1"), value))
    if listed not in ("", "keep-alive", "close"):
        named = {token.strip() for token in listed.split(",")}
        headers = [field for field in headers if field[0] not in named]
    query = scope["query_string"]
    path = scope["raw_path"].decode("latin-1")
    target = f"{path}?{query.decode('latin-1')}" if query else path
    request = HttpRequest(scope["method"], target, scope["scheme"], host, headers, EMPTY())
    return Incoming(request, length, chunked, expects)


async def attach_body(incoming: Incoming, receive: Receive, max_body: int, deadline: float) -> None:
    """Gives the request its body, whole if it is short. Raises `RequestInvalid` where it is too long or too slow."""
    length = incoming.length
    if not incoming.chunked and not length:
        return
    if length is not None and length > max_body:
        raise BodyTooLarge(f"The request body of {length} bytes is longer than {max_body}.", limit=max_body)
    body = RequestBody(receive, max_body)
    if length is None or length > _INLINE_BODY or incoming.expects:
        incoming.request.body = body
        return
    try:
        async with asyncio.timeout_at(deadline):
            incoming.request.body = BytesBody(await read_all(body, length))
    except TimeoutError:
        raise RequestTimeout("The request body did not arrive in time.") from None


async def send_answer(answer: Answer, connection: Connection, receive: Receive, send: Send, close: bool) -> None:
    """An answer of our own. If the client still sends a body, the connection closes once the client had time."""
    body_follows = connection.body_follows
    headers = [*answer.headers, (b"connection", b"close")] if close or body_follows else answer.headers
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if body_follows:
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await _linger(connection, receive)
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": answer.body})


async def _linger(connection: Connection, receive: Receive) -> None:
    """Takes some of what a client still sends: a socket closed on unread bytes is reset, and the answer lost."""
    left = _LINGER_BYTES
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while left > 0 and connection.body_follows:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                left -= len(message["body"])
    except TimeoutError:
        return


async def send_response(
    response: HttpResponse, scope: Scope, connection: Connection, send: Send, extra: list[tuple[bytes, bytes]]
) -> None:
    """The component's answer. `extra`: fields that go out where the component did not set them.

    Raises a `TrellisError` if the body ends with one before anything was sent; later the connection is cut.
    """
    body = response.body
    try:
        if response.status in (204, 304) or response.status < 200:
            await _send_whole(response, b"", scope, connection, extra)
            return
        whole = _whole(body)
        if whole is None and scope["http_version"] == "1.0":
            whole = await read_all(body, _MAX_HTTP10_BODY)
        if whole is not None:
            await _send_whole(response, whole, scope, connection, extra)
        else:
            await _stream(response, body, scope, connection, send, extra)
    finally:
        await body.aclose()


def _whole(body: ByteStream) -> bytes | None:
    """The body, if all of it is here already."""
    if isinstance(body, BytesBody):
        return body.remaining
    return body.take_all() if isinstance(body, Pipe) else None


def _head(response: HttpResponse, extra: list[tuple[bytes, bytes]], length: int | None) -> list[tuple[bytes, bytes]]:
    """The fields to send. `length` takes the place of what the component said."""
    headers = [
        (name.encode("latin-1"), value)
        for name, value in response.headers
        if name not in _NOT_SENT and (length is None or name != "content-length")
    ]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    for field in extra:
        if field[0] in (b"connection", b"vary") or all(name != field[0] for name, _ in headers):
            headers.append(field)
    return headers


async def _send_whole(
    response: HttpResponse, body: bytes, scope: Scope, connection: Connection, extra: list[tuple[bytes, bytes]]
) -> None:
    status = max(response.status, 200)
    bodiless = status in (204, 304)
    head_only = scope["method"] == "HEAD"
    # An answer to HEAD has no body, but may say how long it would be.
    length = None if bodiless or (head_only and not body) else len(body)
    headers = _head(response, extra, length)
    if bodiless:
        headers = [field for field in headers if field[0] != b"content-length"]
    await connection.respond(scope["state"]["cycle"], status, headers, b"" if head_only else body)


async def _stream(
    response: HttpResponse,
    body: ByteStream,
    scope: Scope,
    connection: Connection,
    send: Send,
    extra: list[tuple[bytes, bytes]],
) -> None:
    declared = next((int(value) for name, value in response.headers if name == "content-length"), None)
    await send({"type": "http.response.start", "status": response.status, "headers": _head(response, extra, None)})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b""})
        return
    sent = 0
    try:
        while chunk := await body.read(_CHUNK):
            sent += len(chunk)
            if declared is not None and sent > declared:
                raise RequestInvalid(f"The component sent more than the {declared} bytes it announced.")
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if declared is not None and sent < declared:
            raise RequestInvalid(f"The component sent {sent} of the {declared} bytes it announced.")
    except TrellisError as error:
        connection.abort()
        raise CutOff(str(error)) from error
    await send({"type": "http.response.body", "body": b""})


class CutOff(Exception):
    """The answer had begun and could not be finished; the connection is closed."""
