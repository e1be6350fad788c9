"""Serving one HTTP request with one invocation of a component.

The laws of this file: the response is handed over as soon as the component sets it; a component that finished
by then costs no task; otherwise one task, in the group its caller names, drives it to its end. Whoever stops
waiting for the response, or closes its body early, cancels the component. `done` is called exactly once, when
the component is really over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from trellis_host.engine.api import HostFunction, HostResource, Limits
from trellis_host.wasi.context import ComponentExited, TaskOwner, WasiContext, cancel_once
from trellis_host.wasi.http.bodies import content_length
from trellis_host.wasi.http.error_codes import status_of
from trellis_host.wasi.http.fields import HttpFields
from trellis_host.wasi.http.messages import IncomingRequest, OutgoingResponse
from trellis_host.wasi.results import OK
from trellis_lattice.errors import InvocationFailed, TrellisError, Unavailable
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import BytesBody, Fields, Pipe
from trellis_lattice.wit.values import Case, Err, Ok

__all__ = ["OUTPARAM_FUNCTIONS", "RESPONSE_OUTPARAM", "Exchange", "ResponseOutparam", "Startable", "start_http"]

Done = Callable[[], None]
Informational = Callable[[int, Fields], None]


class Running(Protocol):
    """An invocation that has started."""

    @property
    def done(self) -> bool: ...

    async def result(self) -> Any: ...

    def outcome(self) -> Any:
        """As `result`, of one that is `done`."""

    def close(self) -> None: ...


class Startable(Protocol):
    """A component linked to its imports."""

    def start(self, export: Any, args: Any, context: Any, limits: Limits, *, deadline: float) -> Running: ...


class Exchange:
    """What becomes of one request: at most one of `response` and `code` is set, once."""

    __slots__ = ("_waiter", "code", "error", "informational", "method", "over", "pipe", "response", "task")

    def __init__(self, method: str, informational: Informational | None = None) -> None:
        self.method = method
        self.informational = informational
        self.response: HttpResponse | None = None
        self.code: Case | None = None
        self.pipe: Pipe | None = None
        self.error: BaseException | None = None
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def new_pipe(self) -> Pipe:
        """The pipe of a response body; closing it early cancels the component."""
        return _ResponsePipe(self)

    def answer(self, result: Ok[OutgoingResponse] | Err[Case]) -> None:
        """The component has decided."""
        if isinstance(result, Ok):
            given = result.value
            body = given.body
            if body is not None:
                pipe = body.pipe
            else:
                pipe = Pipe()
                if not self._bodiless(given):
                    self.code = Case("HTTP-response-body-size", 0)
                    self._wake()
                    return
                pipe.end()
            self.pipe = pipe
            self.response = HttpResponse(given.status, given.headers.entries, pipe)
        else:
            self.code = result.value
        self._wake()

    def _bodiless(self, given: OutgoingResponse) -> bool:
        """Whether a response without a body agrees with its own headers."""
        return not content_length(given.headers.entries) or given.status == 304 or self.method == "HEAD"

    def finish(self, error: BaseException | None) -> None:
        """The component is over."""
        self.over = True
        self.error = error
        if self.pipe is not None and not self.pipe.ended:
            self.pipe.end(error=_as_failure(error))
        self._wake()

    async def decided(self) -> None:
        """Waits until the component has answered or is over."""
        while self.response is None and self.code is None and not self.over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _ResponsePipe(Pipe):
    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def close_nowait(self) -> None:
        super().close_nowait()
        task = self._exchange.task
        if task is not None and not self.ended and self._exchange.pipe is self:
            cancel_once(task)


class ResponseOutparam:
    """The one chance to answer."""

    __slots__ = ("exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange


RESPONSE_OUTPARAM: Final = HostResource("response-outparam")


def _set(context: WasiContext, outparam: ResponseOutparam, response: Ok[OutgoingResponse] | Err[Case]) -> None:
    outparam.exchange.answer(response)


def _send_informational(context: WasiContext, outparam: ResponseOutparam, status: int, headers: HttpFields) -> Any:
    if not 100 <= status <= 199 or status == 101:
        return Err(Case("HTTP-protocol-error"))
    if outparam.exchange.informational is not None:
        outparam.exchange.informational(status, headers.entries)
    return OK


OUTPARAM_FUNCTIONS: dict[str, HostFunction] = {
    "[static]response-outparam.set": HostFunction(_set),
    "[method]response-outparam.send-informational": HostFunction(_send_informational),
}


async def start_http(
    linked: Startable,
    export: Any,
    request: HttpRequest,
    context: WasiContext,
    limits: Limits,
    deadline: float,
    *,
    done: Done,
    owner: TaskOwner | None = None,
    informational: Informational | None = None,
) -> HttpResponse:
    """Has the component answer `request` by its `export` (`wasi:http/incoming-handler.handle`).

    Returns when the component has set its response, while it may still write the body. Raises what ended the
    component before that. `deadline`: loop time for the whole invocation; `done`: called once, when the component
    is over (`context.exchange.error` then says how); `owner`: where the task lives that drives the component
    after the response, by default that of the context's settings; `informational`: gets 1xx responses, which are
    dropped without it.
    """
    exchange = context.exchange = Exchange(request.method, informational)
    try:
        running = linked.start(
            export, (IncomingRequest(request), ResponseOutparam(exchange)), context, limits, deadline=deadline
        )
    except BaseException as error:
        exchange.error = error
        context.close()
        done()
        raise
    if running.done:
        _end(running, exchange, context, done, _outcome_of(running, exchange))
        if type(request.body) is not BytesBody:
            await request.body.aclose()
        return _finished(exchange, context)
    work = _drive(running, exchange, request)
    owner = context.settings.owner if owner is None else owner
    try:
        if owner is None:
            raise RuntimeError("there is no place for its task")
        task = owner.create_task(work)
    except RuntimeError as error:
        work.close()
        stopping = Unavailable(f"The component cannot go on after its first wait: {error}.", maybe_executed=True)
        _end(running, exchange, context, done, stopping)
        raise stopping from None
    exchange.task = task

    def over(task: asyncio.Task[None]) -> None:
        if isinstance(request.body, Pipe):  # a task that is cancelled before its first step never closes it
            request.body.close_nowait()
        _end(running, exchange, context, done, _outcome(task, exchange))

    task.add_done_callback(over)
    try:
        await exchange.decided()
    except BaseException:
        cancel_once(task)
        raise
    return _response(exchange, context)


def _finished(exchange: Exchange, context: WasiContext) -> HttpResponse:
    """The answer of a component that is over: a complete body goes out whole, a broken one not at all."""
    if exchange.error is not None:
        raise exchange.error
    response, pipe = _response(exchange, context), exchange.pipe
    if pipe is not None:
        if pipe.failure is not None:
            raise pipe.failure
        data = pipe.take_all()
        if data is not None:
            response.body = BytesBody(data)
    return response


def _outcome_of(running: Running, exchange: Exchange) -> BaseException | None:
    """How an invocation that is `done` ended; None: well."""
    try:
        running.outcome()
    except Exception as error:
        return _failure(error, exchange)
    return None


def _failure(error: Exception, exchange: Exchange) -> BaseException | None:
    """What ended an invocation; None where it exited with success after its answer."""
    exited = isinstance(error, ComponentExited) and error.fields.get("status") == 0
    return None if exited and exchange.response is not None else error


async def _drive(running: Running, exchange: Exchange, request: HttpRequest) -> None:
    """Runs in the owner's group, so an error is kept, not raised."""
    try:
        await running.result()
    except Exception as error:
        exchange.error = _failure(error, exchange)
    finally:
        await request.body.aclose()


def _outcome(task: asyncio.Task[None], exchange: Exchange) -> BaseException | None:
    if task.cancelled():
        return Unavailable("The request was cancelled before the component was done.", maybe_executed=True)
    return exchange.error or task.exception()


def _end(running: Running, exchange: Exchange, context: WasiContext, done: Done, error: BaseException | None) -> None:
    running.close()
    exchange.finish(error)
    if error is None and exchange.response is None and exchange.code is None:
        context.log.emit("error", "trellis", "the component returned without setting a response")
    context.close()
    done()


def _as_failure(error: BaseException | None) -> TrellisError:
    if isinstance(error, TrellisError):
        return error
    return InvocationFailed("The component ended before it finished the body of its response.")


def _response(exchange: Exchange, context: WasiContext) -> HttpResponse:
    """What the client gets."""
    if exchange.response is not None:
        return exchange.response
    if exchange.code is not None:
        code = exchange.code
        context.log.emit("error", "trellis", f"the component answered with the error {code.name}")
        text = f"The component answered with the error {code.name}.\n"
        return _plain(status_of(code), text)
    if exchange.error is not None:
        raise exchange.error
    return _plain(500, "The component returned without setting a response.\n")


def _plain(status: int, text: str) -> HttpResponse:
    data = text.encode()
    headers = [("content-type", b"text/plain; charset=utf-8"), ("content-length", str(len(data)).encode())]
    return HttpResponse(status, headers, BytesBody(data))
