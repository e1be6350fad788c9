"""What answers every request at one address: finds the component, calls it, sends its answer.

The laws of this file: one ASGI callable and no task beyond the server's; a client that leaves cancels the
component; what went wrong is answered here, logged here with its trace id, and never shows a client more than
it can act on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from trellis_lattice.errors import PeerMisbehaved, TrellisError
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.tracing import ActiveSpan, Tracing
from trellis_lattice.wit.values import Err, Ok

from .answers import Answer, answer_error, plain
from .connection import Connection
from .exchange import CutOff, Receive, Scope, Send, attach_body, read_head, send_answer, send_response
from .routes import Route, RouteTable

__all__ = ["Application", "Handle"]

Handle = Callable[[Route, HttpRequest, float], Awaitable[object]]
"""Calls the component of a route; the deadline is on the event loop's clock."""

_CLOSE = (b"connection", b"close")
_READING = ("GET", "HEAD")
_log = logging.getLogger("trellis.http-server")


class Application:
    """The ASGI callable of one listener. `table` is replaced as a whole when links change."""

    def __init__(self, handle: Handle, tracing: Tracing) -> None:
        self.table = RouteTable()
        self.draining = False
        self._handle = handle
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection = scope["state"]["connection"]
        connection.task = asyncio.current_task()
        try:
            route = self.table.find(scope["headers"], scope["raw_path"].decode("latin-1"))
            if route is None:
                answer = plain(404, f"No component is linked to {scope['path'][:200]} here.")
                await send_answer(answer, connection, receive, send, self.draining)
            else:
                await self._answer(route, scope, receive, send, connection)
        except CutOff as error:
            _log.warning("The answer to %s %s was cut off: %s", scope["method"], scope["path"], error)
        except asyncio.CancelledError:
            if not connection.gone:
                raise
        finally:
            connection.task = None

    async def _answer(self, route: Route, scope: Scope, receive: Receive, send: Send, connection: Connection) -> None:
        incoming = read_head(scope)
        request = incoming.request
        with self._tracing.http_server_span(
            request.method, request.path_with_query, headers=request.headers, scheme=request.scheme
        ) as span:
            if route.settings.path is not None:
                span.rename(f"{request.method} {route.settings.path}")
                span.set("http.route", route.settings.path)
            settings = route.settings
            failure: TrellisError | None = None
            allowed: list[tuple[bytes, bytes]] | None = None
            try:
                allowed = settings.cors.preflight(request.method, request.headers) if settings.cors else None
                if allowed is not None:
                    answer = Answer(204, allowed, b"")
                elif settings.readonly and request.method not in _READING:
                    answer = plain(405, "This address is read-only.", [(b"allow", b"GET, HEAD")])
                else:
                    deadline = asyncio.get_running_loop().time() + settings.timeout
                    await attach_body(incoming, receive, settings.max_body, deadline)
                    response = _response(await self._handle(route, request, deadline), route)
                    self._tracing.http_response(span, response.status)
                    await send_response(response, scope, connection, send, self._extra(route, request, span))
                    return
            except TrellisError as error:
                failure = error
                answer = _failed(error, route, request, span)
            self._tracing.http_response(span, answer.status)
            if failure is not None and answer.status >= 500:
                span.fail(failure)
            answer.headers.extend(_shown(route, request, span) if allowed is None else _traced(span))
            await send_answer(answer, connection, receive, send, self.draining)

    def _extra(self, route: Route, request: HttpRequest, span: ActiveSpan) -> list[tuple[bytes, bytes]]:
        """Fields of ours in every answer of a component."""
        extra = _shown(route, request, span)
        if self.draining or not route.settings.keep_alive:
            extra.append(_CLOSE)
        if route.settings.cache_control is not None:
            extra.append((b"cache-control", route.settings.cache_control.encode("latin-1")))
        return extra


def _traced(span: ActiveSpan) -> list[tuple[bytes, bytes]]:
    """The name of a trace that is recorded, so that one can look it up (W3C Trace Context Level 2 draft)."""
    if not span.recording:
        return []
    context = span.context
    return [(b"traceresponse", b"00-%032x-%016x-01" % (context.trace_id, context.span_id))]


def _shown(route: Route, request: HttpRequest, span: ActiveSpan) -> list[tuple[bytes, bytes]]:
    """Fields of ours in every answer, whoever made it."""
    fields = _traced(span)
    if route.settings.cors is not None:
        fields += route.settings.cors.answer_fields(request.headers)
    return fields


def _response(result: object, route: Route) -> HttpResponse:
    """The HTTP answer in what `handle` returned."""
    match result:
        case HttpResponse():
            return result
        case Ok(HttpResponse() as response):
            return response
        case Err(error):
            raise PeerMisbehaved(f"{route.component} answered with the error {error}.")
    raise PeerMisbehaved(f"{route.component} answered with a {type(result).__name__}, not an HTTP response.")


def _failed(error: TrellisError, route: Route, request: HttpRequest, span: ActiveSpan) -> Answer:
    """The answer to a request that failed; the log record, made inside the span, has the trace id that it gives."""
    whose = {"component": route.provider}
    _log.warning("%s %s → %s: %s", request.method, request.path_with_query, route.component, error, extra=whose)
    return answer_error(error, span.trace_id if span.context.is_valid else None)
