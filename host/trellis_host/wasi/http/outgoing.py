"""`wasi:http/outgoing-handler`: requests that a component makes, if it was granted their destination."""

from __future__ import annotations

import asyncio
from typing import Any

from trellis_host.engine.api import HostFunction, HostResource
from trellis_host.wasi.context import WasiContext, cancel_once
from trellis_host.wasi.http.bodies import pump
from trellis_host.wasi.http.client import OutgoingClient, Timeouts
from trellis_host.wasi.http.error_codes import code_of
from trellis_host.wasi.http.messages import IncomingResponse, OutgoingRequest, RequestOptions
from trellis_host.wasi.pollables import Cell, CellFilled, Pollable
from trellis_host.wasi.results import FAILED
from trellis_lattice.errors import TrellisError
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import EMPTY, ByteStream, Pipe
from trellis_lattice.wit.values import Case, Err, Ok

__all__ = ["FUTURE_FUNCTIONS", "FUTURE_RESPONSE", "HANDLER_FUNCTIONS", "FutureResponse"]

_LONGEST = 600.0
"""Seconds; bound of every phase that the component does not bound itself. The invocation's deadline holds anyway."""


_DISCARDED = 256 * 1024
"""Bytes of a request's body that are taken after the request has failed."""


class FutureResponse:
    """`future-incoming-response`: filled with `Ok(IncomingResponse)` or `Err(error-code)`."""

    __slots__ = ("cell", "taken", "task")

    def __init__(self, cell: Cell, task: asyncio.Task[None] | None) -> None:
        self.cell = cell
        self.task = task
        self.taken = False


def _drop(context: WasiContext, future: FutureResponse) -> None:
    if not future.taken and future.task is not None:
        cancel_once(future.task)


FUTURE_RESPONSE = HostResource("future-incoming-response", _drop)


def _handle(context: WasiContext, request: OutgoingRequest, options: RequestOptions | None) -> Ok[Any] | Err[Any]:
    settings = context.settings
    scheme, authority = request.scheme or "https", request.authority
    if authority is None or scheme not in ("http", "https"):
        return _refused(request, "HTTP-request-URI-invalid")
    if request.method == "CONNECT":
        return _refused(request, "HTTP-request-method-invalid")
    if settings.client is None or settings.owner is None or settings.grants is None:
        granted = False
    else:
        granted = settings.grants.allows(scheme, authority)
    if not granted or settings.client is None:
        context.log.emit("warn", "trellis", f"request to {scheme}://{authority} denied: the manifest does not grant it")
        return Ok(_denied(context, request))
    outgoing = HttpRequest(
        request.method,
        request.path,
        scheme,
        authority,
        request.headers.entries,
        EMPTY() if request.body is None else request.body.pipe,
    )
    cell = Cell()
    return Ok(FutureResponse(cell, context.spawn(_exchange(settings.client, outgoing, _timeouts(options), cell))))


def _denied(context: WasiContext, request: OutgoingRequest) -> FutureResponse:
    """Told like any failure of the network, which components know how to handle."""
    cell, task = Cell(), None
    cell.fill(Err(Case("HTTP-request-denied")))
    if request.body is not None:
        if context.settings.owner is None:
            request.body.pipe.close_nowait()
        else:
            task = context.spawn(_discard(request.body.pipe))
    return FutureResponse(cell, task)


def _refused(request: OutgoingRequest, code: str) -> Err[Case]:
    if request.body is not None:
        request.body.pipe.close_nowait()
    return Err(Case(code))


def _timeouts(options: RequestOptions | None) -> Timeouts:
    if options is None:
        return Timeouts(_LONGEST, _LONGEST, _LONGEST)
    given = (options.connect, options.first_byte, options.between_bytes)
    return Timeouts(*(_LONGEST if each is None else min(each / 1e9, _LONGEST) for each in given))


async def _exchange(client: OutgoingClient, request: HttpRequest, timeouts: Timeouts, cell: Cell) -> None:
    try:
        await _answer(client, request, timeouts, cell)
    except asyncio.CancelledError:
        await request.body.aclose()
        raise
    await _discard(request.body)


async def _answer(client: OutgoingClient, request: HttpRequest, timeouts: Timeouts, cell: Cell) -> None:
    try:
        response = await client.send(request, timeouts)
        pipe = Pipe()
        cell.fill(Ok(IncomingResponse(HttpResponse(response.status, response.headers, pipe))))
        await pump(response.body, pipe)
    except TrellisError as error:
        cell.fill(Err(code_of(error)))
    except Exception as error:
        cell.fill(Err(Case("internal-error", f"{type(error).__name__}: {error}"[:1024])))


async def _discard(body: ByteStream) -> None:
    """Takes a little more of a body nobody wants: a component writes it before it looks at the response.

    StarlingMonkey, for one, gives up altogether when such a write fails. Beyond the limit the writer is told.
    """
    try:
        left = _DISCARDED
        while left > 0 and (chunk := await body.read(left)):
            left -= len(chunk)
    except TrellisError:
        pass  # the writer gave up as well
    finally:
        await body.aclose()


def _subscribe(context: WasiContext, future: FutureResponse) -> Pollable:
    return CellFilled(future.cell)


def _get(context: WasiContext, future: FutureResponse) -> Ok[Any] | Err[Any] | None:
    if future.taken:
        return FAILED
    if not future.cell.filled:
        return None
    future.taken = True
    return Ok(future.cell.value)


HANDLER_FUNCTIONS: dict[str, HostFunction] = {"handle": HostFunction(_handle)}
FUTURE_FUNCTIONS: dict[str, HostFunction] = {
    "[method]future-incoming-response.subscribe": HostFunction(_subscribe),
    "[method]future-incoming-response.get": HostFunction(_get),
}
