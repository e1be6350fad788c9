"""Answers the calls from the lattice to one target: `Serving`.

The laws of this file: what cannot be executed now is refused before it starts, and the refusal says so; every
accepted call that waits is one task with a deadline; a call that lasts is announced, so that its caller learns of
this host's death; what the service raises crosses as it is, but marked `maybe_executed` unless the target itself
refused; leaving loses nothing: no new messages, then what is here is finished.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trellis_lattice.bus.connection import Message, Subscription
from trellis_lattice.errors import (
    DeadlineExceeded,
    Overloaded,
    PeerMisbehaved,
    RequestInvalid,
    TrellisError,
    Unavailable,
)
from trellis_lattice.invocation import subjects
from trellis_lattice.invocation.api import Begun, Call, Service
from trellis_lattice.invocation.codec import CallCodec, codec_of
from trellis_lattice.invocation.crossing import ServedCrossing
from trellis_lattice.invocation.failures import crashed, log_failure
from trellis_lattice.invocation.headers import (
    REPLY_ERROR,
    REPLY_OK,
    REPLY_OK_PARTS,
    RequestHead,
    accepted_headers,
    parse_request,
)
from trellis_lattice.invocation.resources import HeldInstance
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.tracing import SpanKind
from trellis_lattice.tracing.w3c import parse_traceparent
from trellis_lattice.wit.cbor import DATA_ONLY, dumps

__all__ = ["CONCURRENCY", "Serving"]

if TYPE_CHECKING:
    from trellis_lattice.invocation.server import LatticeServer

_log = logging.getLogger("trellis.invocation")

ANNOUNCE_AFTER = 0.2
"""Seconds after which a caller is told who executes its call."""
CONCURRENCY = 10_000
"""Calls of one target at one time, beyond which they are refused. Slots of components are counted elsewhere."""
_HEADROOM = 4096
_REMEMBERED_CANCELS = 1024
_BEGUN_IN_ONE_TURN = 8
"""Calls of a target that are executed in one turn of the event loop; more get tasks, which let others in between."""
_LEAVE_TIMEOUT = 1.0
"""Seconds for what leaving needs beyond the grace period: a word from the server, a word to the callers."""


class _Running:
    """One accepted call."""

    __slots__ = (
        "_loop",
        "_reply",
        "_serving",
        "_timer",
        "answered",
        "begun",
        "deadline",
        "ended_by",
        "rest",
        "started",
        "task",
    )

    def __init__(self, serving: Serving, reply: str, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = deadline
        self.task: asyncio.Task[Any] | None = None
        self.begun = False
        """Its task has run at all."""
        self.started = False
        """The service has been asked: from here on the call may have effects."""
        self.rest: Begun | None = None
        """What is left of a call that was begun before its task."""
        self.answered = False
        self.ended_by: TrellisError | None = None
        """Why it was cancelled, for the answer; None: its caller is gone and wants none."""
        self._serving = serving
        self._reply = reply
        self._loop = loop
        self._timer = loop.call_at(min(deadline, loop.time() + ANNOUNCE_AFTER), self._on_time)

    def stop(self, why: TrellisError | None) -> None:
        """Cancels the call. `why` is what the caller gets."""
        if self.task is not None and not self.task.done():
            self.ended_by = why
            self.task.cancel()

    def ended(self) -> None:
        """Its task is done."""
        self._timer.cancel()
        self._serving._ended(self._reply, self)

    def _on_time(self) -> None:
        if self._loop.time() >= self.deadline:
            self.stop(DeadlineExceeded("The deadline of the call passed while it was executed.", maybe_executed=True))
        else:
            self._timer = self._loop.call_at(self.deadline, self._on_time)
            self._serving._announce(self._reply)


class Serving:
    """One target that is served here. End it with `aclose`."""

    def __init__(self, server: LatticeServer, target: str, service: Service, concurrency: int) -> None:
        self._server = server
        self.target = target
        self._service = service
        self._concurrency = concurrency
        self._subscriptions: list[Subscription] = []
        self._running: dict[str, _Running] = {}
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._tasks = Tasks()
        self._leaving = False
        self._begin: Callable[[Call], Any] | None = getattr(service, "begin", None)
        self._begun_this_turn = 0

    @property
    def in_flight(self) -> int:
        """Calls that are executed now, or whose streams are still being sent."""
        return len(self._tasks)

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Takes no more calls, gives those that run `grace` seconds, then cancels the rest. Idempotent.

        What others hold resources of here still answers them in that time: they cannot go elsewhere.
        """
        deadline = asyncio.get_running_loop().time() + grace
        subscriptions, self._subscriptions = self._subscriptions, []
        for calls in subscriptions[:1]:
            await calls.drain(deadline=asyncio.get_running_loop().time() + max(grace, _LEAVE_TIMEOUT))
        self._leaving = True
        await self._tasks.settle(deadline)
        await self._server.let_go(self, deadline)
        await self._tasks.settle(deadline)
        for running in tuple(self._running.values()):
            running.stop(Unavailable("The host is shutting down.", maybe_executed=True, retry_after=1.0))
        await self._tasks.settle(asyncio.get_running_loop().time() + _LEAVE_TIMEOUT)
        await self._tasks.aclose()
        for subscription in subscriptions[1:]:
            await subscription.unsubscribe()
        self._server._forget(self)

    async def _start(self) -> None:
        server = self._server
        rpc = subjects.rpc(server.lattice, self.target)
        self._subscriptions = [
            await server.connection.subscribe(rpc, self.accept, queue=rpc),
            await server.connection.subscribe(subjects.cancel(server.lattice, self.target), self._on_cancel),
        ]

    def accept(self, message: Message, instance: HeldInstance | None = None) -> None:
        """Starts a call, or refuses it."""
        reply = message.reply
        if not reply:
            return
        if reply in self._running:
            _log.debug("A call of %s came twice; it is executed once", self.target)
        elif reply in self._cancelled:
            del self._cancelled[reply]
        elif self._leaving and instance is None:
            self._refuse(reply, Unavailable(f"{self.target!r} is leaving this host.", retry_after=1.0))
        elif len(self._running) >= self._concurrency:
            self._refuse(
                reply,
                Overloaded(
                    f"This host already executes {self._concurrency} calls of {self.target!r}.",
                    retry_after=1.0,
                    component=self.target,
                ),
            )
        else:
            try:
                head = parse_request(message.headers)
            except RequestInvalid as error:
                self._refuse(reply, error)
                return
            loop = asyncio.get_running_loop()
            deadline = loop.time() + head.remaining_ms / 1000
            if instance is None and self._at_once(message, head, deadline, loop):
                return
            self._start_task(message, head, _Running(self, reply, deadline, loop), instance)

    def _start_task(
        self, message: Message, head: RequestHead, running: _Running, instance: HeldInstance | None
    ) -> None:
        self._running[message.reply] = running
        running.task = self._tasks.spawn(self._run(message, head, running, instance), running.ended)

    def _may_begin(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether another call may be executed before the event loop goes on."""
        if self._begun_this_turn == 0:
            loop.call_soon(self._next_turn)
        self._begun_this_turn += 1
        return self._begun_this_turn <= _BEGUN_IN_ONE_TURN

    def _next_turn(self) -> None:
        self._begun_this_turn = 0

    def _at_once(self, message: Message, head: RequestHead, deadline: float, loop: asyncio.AbstractEventLoop) -> bool:
        """Executes a call of plain data up to where it waits; then a task takes over. False: nothing was done.

        Only for traces that are not recorded: a span would have to pass from here to the task.
        """
        begin = self._begin
        watch = self._server.calls
        if watch is not None and watch.active:
            return False
        parent = parse_traceparent(head.traceparent, head.tracestate)
        if begin is None or parent is None or parent.trace_flags & 1 or head.address.in_parts:
            return False
        if not self._may_begin(loop):
            return False
        try:
            call = self._call(head, deadline, None)
        except TrellisError:
            return False
        codec, where = codec_of(call.type), self._where(call)
        if not codec.data_only:
            return False
        reply, started = message.reply, False
        with self._server.tracing.invocation_span(call, SpanKind.SERVER, parent=parent):
            try:
                call.args = codec.decode_args(message.data, DATA_ONLY, where)
                started = True
                value = begin(call)
                if hasattr(value.__class__, "__await__"):
                    running = _Running(self, reply, deadline, loop)
                    running.started, running.rest = True, value
                    self._start_task(message, head, running, None)
                    return True
                answer = codec.encode_result(value, DATA_ONLY, where)
            except Exception as error:
                if started:
                    log_failure(call, error)
                self._refuse(reply, self._told(error, started))
                return True
        if not self._server.connection.publish_now(reply, answer, reply="", headers=REPLY_OK):
            self._tasks.spawn(self._answer_later(reply, answer, call.deadline))
        return True

    async def _answer_later(self, reply: str, answer: bytes, deadline: float) -> None:
        """The answer of a call that has ended, where it needs parts or a connection that makes it wait."""
        server = self._server
        crossing = ServedCrossing(server.hub, deadline, server.resources, self.target, self._service, None)
        try:
            await self._answer(reply, answer, crossing, deadline)
            await crossing.sent()
        except TrellisError as error:
            await self._fail(reply, self._outcome(error))
        finally:
            crossing.close_outgoing()

    def _ended(self, reply: str, running: _Running) -> None:
        del self._running[reply]
        if running.begun:
            return
        if running.rest is not None:
            running.rest.close()
        if running.ended_by is not None:
            leaving = Unavailable(f"{self.target!r} is leaving this host.", retry_after=1.0)
            self._refuse(reply, running.ended_by if running.started else leaving)

    async def _run(self, message: Message, head: RequestHead, running: _Running, instance: HeldInstance | None) -> None:
        """The whole way of one call, from its message to the end of its answer."""
        running.begun = True
        server, reply = self._server, message.reply
        crossing = ServedCrossing(server.hub, running.deadline, server.resources, self.target, self._service, instance)
        try:
            answer = await self._execute(message, head, running, crossing, instance)
            await self._answer(reply, answer, crossing, running.deadline)
            running.answered = True
            if crossing.outgoing:
                await crossing.sent()
        except asyncio.CancelledError:
            crossing.close_outgoing()
            if running.ended_by is None:
                raise
            if not running.answered:
                await self._fail(reply, running.ended_by)
        except Exception as error:
            crossing.close_outgoing()
            await self._fail(reply, self._told(error, running.started))
        finally:
            if crossing.incoming:
                await crossing.close_incoming()

    async def _execute(
        self,
        message: Message,
        head: RequestHead,
        running: _Running,
        crossing: ServedCrossing,
        instance: HeldInstance | None,
    ) -> bytes:
        """The encoded result. Raises what the service raises, and errors of the values."""
        server = self._server
        call = self._call(head, running.deadline, instance)
        codec, where = codec_of(call.type), self._where(call)
        if running.rest is not None:
            return await self._rest(running.rest, call, codec, where)
        parent = parse_traceparent(head.traceparent, head.tracestate)
        with server.tracing.invocation_span(call, SpanKind.SERVER, parent=parent):
            in_parts = head.address.in_parts
            payload = await self._in_parts(message, running.deadline) if in_parts else message.data
            call.args = codec.decode_args(payload, crossing, where)
            running.started = True
            watch = server.calls
            watched = None if watch is None else watch.watched(call, "lattice", len(payload))
            try:
                value = await self._service.serve(call)
                answer = codec.encode_result(value, crossing, where)
            except BaseException as error:
                if watched is not None:
                    watched.failed(error)
                if isinstance(error, Exception):
                    log_failure(call, error)
                raise
            if watched is not None:
                watched.done(value, len(answer))
            return answer

    async def _rest(self, rest: Begun, call: Call, codec: CallCodec, where: str) -> bytes:
        """The encoded result of a call that was begun; its context is that of this task."""
        try:
            return codec.encode_result(await rest, DATA_ONLY, where)
        except Exception as error:
            log_failure(call, error)
            raise

    def _call(self, head: RequestHead, deadline: float, instance: HeldInstance | None) -> Call:
        """The call, still without arguments. Raises what the service says of a function it does not have."""
        address = head.address
        return Call(
            self.target,
            address.interface,
            address.function,
            (),
            self._service.function_type(address.interface, address.function),
            deadline,
            address.source,
            address.link_name,
            instance=instance.name if instance else None,
            attributes={"trellis.route": "lattice", "trellis.host": self._server.host},
        )

    def _where(self, call: Call) -> str:
        return f"{call.interface}.{call.function} of {self.target}: "

    def _told(self, error: Exception, started: bool) -> TrellisError:
        """What the caller gets for an error."""
        if not isinstance(error, TrellisError):
            return crashed(self.target, error)
        return self._outcome(error) if started else error

    async def _in_parts(self, message: Message, deadline: float) -> bytes:
        try:
            return await self._server.hub.lift_message(message.data, deadline)
        except PeerMisbehaved as error:
            raise RequestInvalid(error.message, **error.fields) from error

    def _outcome(self, error: TrellisError) -> TrellisError:
        """Only the target's own refusal means that nothing was executed: an error from further on does not."""
        if isinstance(error, Overloaded | Unavailable) and error.fields.get("component") != self.target:
            error.fields = {**error.fields, "maybe_executed": True}
        return error

    async def _answer(self, reply: str, answer: bytes, crossing: ServedCrossing, deadline: float) -> None:
        headers = REPLY_OK
        if len(answer) + _HEADROOM > self._server.connection.max_payload:
            answer = self._server.hub.lower_message(answer, deadline, crossing.outgoing.append)
            headers = REPLY_OK_PARTS
        await self._server.connection.publish(reply, answer, headers=headers)

    async def _fail(self, reply: str, error: TrellisError) -> None:
        try:
            await self._server.connection.publish(reply, dumps(error.to_wire()), headers=REPLY_ERROR)
        except TrellisError as lost:
            _log.debug("An answer could not be sent: %s", lost)

    def _refuse(self, reply: str, error: TrellisError) -> None:
        self._server.hub.tasks.spawn(self._fail(reply, error))

    def _announce(self, reply: str) -> None:
        self._server.hub.tasks.spawn(
            self._server.connection.publish(reply, headers=accepted_headers(self._server.host))
        )

    def _on_cancel(self, message: Message) -> None:
        reply = message.data.decode("ascii", "replace")
        running = self._running.get(reply)
        if running is not None:
            running.stop(None)
            return
        # It may have overtaken its call: they come over two subscriptions.
        self._cancelled[reply] = None
        if len(self._cancelled) > _REMEMBERED_CANCELS:
            self._cancelled.popitem(last=False)
