"""The way out: requests that components make to HTTP servers.

The laws of this file: one client per host process, made by whoever composes the host and passed in; httpx is
loaded with the first request. No redirects, no cookies, no proxies from the environment, no decoding: the
component gets what the server sent. Every failure is a Trellis error that names a `wasi:http` error-code.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trellis_host.wasi.http.error_codes import http_failure
from trellis_lattice.errors import RequestInvalid, TrellisError
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import BytesBody, ByteStream, Fields, Pipe

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpClient", "OutgoingClient", "Timeouts"]

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: until connected; from then until the response's head; between two pieces of its body."""

    connect: float
    first_byte: float
    between_bytes: float


class OutgoingClient(Protocol):
    """Makes HTTP requests."""

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        """Sends the request with its body and returns once the response's head is here."""


class HttpClient:
    """HTTP/1.1 over TCP and TLS, with kept-alive connections."""

    def __init__(self, *, max_connections: int = 256, max_idle: int = 64, tls: ssl.SSLContext | None = None) -> None:
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._tls = tls
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._making = asyncio.Lock()

    async def send(self, request: HttpRequest, timeouts: Timeouts) -> HttpResponse:
        transport = self._transport or await self._first_transport()
        import httpx

        extensions = {"timeout": {"connect": timeouts.connect, "pool": timeouts.connect, "write": None, "read": None}}
        try:
            outgoing = httpx.Request(
                request.method,
                f"{request.scheme}://{request.authority}{request.path_with_query or '/'}",
                headers=[(name.encode(), value) for name, value in request.headers],
                content=_content(request.body),
                extensions=extensions,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise RequestInvalid(
                f"The request's URL is invalid: {error}", http_error="HTTP-request-URI-invalid"
            ) from None
        try:
            async with asyncio.timeout(timeouts.connect + timeouts.first_byte):
                response = await transport.handle_async_request(outgoing)
        except TimeoutError:
            raise http_failure("HTTP-response-timeout", "The server did not answer in time.") from None
        except httpx.HTTPError as error:
            raise _translated(error) from error
        headers = [(name.lower().decode("latin-1"), value) for name, value in response.headers.raw]
        return HttpResponse(response.status_code, headers, _ResponseBody(response, timeouts.between_bytes))

    async def aclose(self) -> None:
        """Closes all connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def _first_transport(self) -> httpx.AsyncHTTPTransport:
        """Loading httpx and the trusted certificates takes a while: not on the event loop's thread."""
        async with self._making:
            if self._transport is None:
                self._transport = await asyncio.to_thread(self._make_transport)
            return self._transport

    def _make_transport(self) -> httpx.AsyncHTTPTransport:
        import httpx

        limits = httpx.Limits(max_connections=self._max_connections, max_keepalive_connections=self._max_idle)
        verify = True if self._tls is None else self._tls
        return httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)


class _ResponseBody:
    """The body of a response, as it arrives."""

    def __init__(self, response: httpx.Response, between_bytes: float) -> None:
        self._response = response
        self._chunks = response.aiter_raw()
        self._rest = b""
        self._patience = between_bytes

    async def read(self, limit: int) -> bytes:
        import httpx

        if not self._rest:
            try:
                async with asyncio.timeout(self._patience):
                    self._rest = await anext(self._chunks, b"")
            except TimeoutError:
                raise http_failure("connection-read-timeout", "The server stopped sending.") from None
            except httpx.HTTPError as error:
                raise _translated(error) from error
        chunk, self._rest = self._rest[:limit], self._rest[limit:]
        return chunk

    async def trailers(self) -> Fields | None:
        """httpx does not hand trailers on."""
        return None

    async def aclose(self) -> None:
        await self._response.aclose()


def _content(body: ByteStream) -> bytes | AsyncIterator[bytes] | None:
    if isinstance(body, BytesBody):
        return body.remaining or None
    if isinstance(body, Pipe):
        whole = body.take_all()
        if whole is not None:
            return whole or None
    return _pieces(body)


async def _pieces(body: ByteStream) -> AsyncIterator[bytes]:
    while chunk := await body.read(_CHUNK):
        yield chunk


def _translated(error: httpx.HTTPError) -> TrellisError:
    """The one place where httpx's exceptions become Trellis errors."""
    import httpx

    if isinstance(error, httpx.RemoteProtocolError):
        early = "disconnected" in str(error) or "closed connection" in str(error)
        code = "HTTP-response-incomplete" if early else "HTTP-protocol-error"
    else:
        code = _code(error)
    return http_failure(code, f"The request failed: {error or type(error).__name__}.")


def _code(error: httpx.HTTPError) -> str:
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return "DNS-error"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "TLS-certificate-error"
        if isinstance(cause, ssl.SSLError):
            return "TLS-protocol-error"
        if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "destination-IP-unroutable"
    return _BY_NAME.get(type(error).__name__, "HTTP-protocol-error")


_BY_NAME = {
    "ConnectTimeout": "connection-timeout",
    "PoolTimeout": "connection-limit-reached",
    "ReadTimeout": "connection-read-timeout",
    "WriteTimeout": "connection-write-timeout",
    "ConnectError": "connection-refused",
    "ReadError": "connection-terminated",
    "WriteError": "connection-terminated",
    "CloseError": "connection-terminated",
}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        pending += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            pending += each.exceptions
