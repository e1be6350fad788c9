"""Answers calls from the lattice: `LatticeServer`.

The laws of this file: what cannot be executed now is refused before it starts, and the refusal says so; every
accepted call is one task with a deadline; a call that lasts is announced, so that its caller learns of this
host's death; what the service raises crosses as it is, but marked `maybe_executed` unless the target itself
refused; leaving loses nothing: no new messages, then what is here is finished.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import (
    DeadlineExceeded,
    InvocationFailed,
    Overloaded,
    PeerMisbehaved,
    RequestInvalid,
    TrellisError,
    Unavailable,
)
from trellis_lattice.invocation import subjects
from trellis_lattice.invocation.api import Call, Service
from trellis_lattice.invocation.codec import codec_of
from trellis_lattice.invocation.crossing import ServedCrossing
from trellis_lattice.invocation.headers import (
    REPLY_ERROR,
    REPLY_OK,
    REPLY_OK_PARTS,
    RequestHead,
    accepted_headers,
    is_drop,
    parse_request,
)
from trellis_lattice.invocation.resources import HeldInstance, ResourceTable
from trellis_lattice.invocation.streams import StreamHub
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.tracing import SpanKind, Tracing, trace_fields
from trellis_lattice.tracing.w3c import parse_traceparent
from trellis_lattice.wit.cbor import dumps, loads

__all__ = ["LatticeServer", "Serving"]

_log = logging.getLogger("trellis.invocation")

ANNOUNCE_AFTER = 0.2
"""Seconds after which a caller is told who executes its call."""
CONCURRENCY = 10_000
"""Calls of one target at one time, beyond which they are refused. Slots of components are counted elsewhere."""
_HEADROOM = 4096
_EXPIRY_INTERVAL = 1.0
_REMEMBERED_CANCELS = 1024
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

    @property
    def in_flight(self) -> int:
        """Calls that are executed now, or whose streams are still being sent."""
        return len(self._tasks)

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Takes no more calls, gives those that run `grace` seconds, then cancels the rest. Idempotent."""
        deadline = asyncio.get_running_loop().time() + grace
        subscriptions, self._subscriptions = self._subscriptions, []
        for calls in subscriptions[:1]:
            await calls.drain(deadline=asyncio.get_running_loop().time() + max(grace, _LEAVE_TIMEOUT))
        self._leaving = True
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
        elif self._leaving:
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
            running = _Running(self, reply, loop.time() + head.remaining_ms / 1000, loop)
            self._running[reply] = running
            running.task = self._tasks.spawn(self._run(message, head, running, instance), running.ended)

    def _ended(self, reply: str, running: _Running) -> None:
        del self._running[reply]
        if not running.begun and running.ended_by is not None:
            self._refuse(reply, Unavailable(f"{self.target!r} is leaving this host.", retry_after=1.0))

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
        except TrellisError as error:
            crossing.close_outgoing()
            await self._fail(reply, self._outcome(error) if running.started else error)
        except Exception as error:
            crossing.close_outgoing()
            await self._fail(reply, _crashed(self.target, error))
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
        server, address = self._server, head.address
        call = Call(
            self.target,
            address.interface,
            address.function,
            (),
            self._service.function_type(address.interface, address.function),
            running.deadline,
            address.source,
            address.link_name,
            instance=instance.name if instance else None,
            attributes={"trellis.route": "lattice", "trellis.host": server.host},
        )
        parent = parse_traceparent(head.traceparent, head.tracestate)
        with server.tracing.invocation_span(call, SpanKind.SERVER, parent=parent):
            codec, where = codec_of(call.type), f"{call.interface}.{call.function} of {self.target}: "
            in_parts = head.address.in_parts
            payload = await self._in_parts(message, running.deadline) if in_parts else message.data
            call.args = codec.decode_args(payload, crossing, where)
            running.started = True
            try:
                return codec.encode_result(await self._service.serve(call), crossing, where)
            except Exception as error:
                _log_failure(call, error)
                raise

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


class LatticeServer:
    """Serves any number of targets of one host over one connection. Made by `start`, ended by `aclose`.

    `released(value)` is called for each resource of a service that nobody holds any more.
    """

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        host: str,
        *,
        tracing: Tracing | None = None,
        released: Callable[[Any], None] = lambda value: None,
    ) -> None:
        self.connection = connection
        self.lattice = lattice
        self.host = host
        self.tracing = tracing or Tracing()
        self.hub = StreamHub(connection, host)
        self.resources = ResourceTable(secrets.token_hex(8), released)
        self._servings: dict[str, Serving] = {}
        self._instances: Subscription | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @classmethod
    async def start(
        cls,
        connection: Connection,
        lattice: str,
        host: str,
        *,
        tracing: Tracing | None = None,
        released: Callable[[Any], None] = lambda value: None,
    ) -> LatticeServer:
        """Listens for calls on resources; targets come with `serve`."""
        self = cls(connection, lattice, host, tracing=tracing, released=released)
        self._instances = await connection.subscribe(
            subjects.instances(lattice, self.resources.server), self._on_instance_message
        )
        self._expire()
        return self

    async def serve(self, target: str, service: Service, *, concurrency: int = CONCURRENCY) -> Serving:
        """Answers calls to `target` with `service`, at most `concurrency` at one time."""
        serving = Serving(self, target, service, concurrency)
        await serving._start()
        self._servings[target] = serving
        return serving

    def host_gone(self, host: str) -> None:
        """The host is dead: streams that it was sending end with an error."""
        self.hub.host_gone(host)

    async def aclose(self, *, grace: float = 0.0) -> None:
        """Leaves with all targets at once, as `Serving.aclose`. Idempotent."""
        if self._servings:
            await asyncio.gather(*(serving.aclose(grace=grace) for serving in tuple(self._servings.values())))
        if self._expiry is not None:
            self._expiry.cancel()
        if self._instances is not None:
            await self._instances.unsubscribe()
        self.resources.close()
        await self.hub.aclose()

    def _forget(self, serving: Serving) -> None:
        if self._servings.get(serving.target) is serving:
            del self._servings[serving.target]
            self.resources.close_target(serving.target)

    def _on_instance_message(self, message: Message) -> None:
        name = subjects.parse_instance(message.subject) or ""
        if is_drop(message.headers):
            ids = loads(message.data)
            self.resources.drop(name, [key for key in ids if isinstance(key, str)] if isinstance(ids, list) else [])
            return
        try:
            instance = self.resources.find(name)
            serving = self._servings.get(instance.target)
            if serving is None:
                raise Unavailable(f"{instance.target!r} is no longer on this host.", reason="owner-gone")
        except Unavailable as error:
            if message.reply:
                self.hub.tasks.spawn(self._reply_error(message.reply, error))
            return
        serving.accept(message, instance)

    async def _reply_error(self, reply: str, error: TrellisError) -> None:
        await self.connection.publish(reply, dumps(error.to_wire()), headers=REPLY_ERROR)

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self.resources.expire(loop.time())
        self._expiry = loop.call_later(_EXPIRY_INTERVAL, self._expire)


def _crashed(target: str, error: Exception) -> InvocationFailed:
    return InvocationFailed(
        f"{target!r} failed: {type(error).__name__}: {error}",
        remedy="Look at the log of its host.",
        component=target,
        trap=type(error).__name__,
    )


def _log_failure(call: Call, error: Exception) -> None:
    what = (call.interface, call.function, call.target)
    if isinstance(error, TrellisError):
        _log.warning("%s/%s of %s failed: %s", *what, error.message, extra=trace_fields())
    else:
        _log.error("%s/%s of %s failed", *what, exc_info=error, extra=trace_fields())
