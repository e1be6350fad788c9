"""Makes calls over the lattice: `LatticeInvoker`.

The laws of this file: a call costs one message there and one back while its values are short; it ends with
its deadline, with the connection, with its callee's host, or with an answer, whichever is first; a caller
that is cancelled tells the callee; a call is sent again only by the rule of `retry.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from trellis_lattice.bus.connection import Connection, Inbox
from trellis_lattice.errors import TrellisError, Unavailable, from_wire
from trellis_lattice.invocation import subjects
from trellis_lattice.invocation.api import Call, Handle
from trellis_lattice.invocation.codec import CallCodec, codec_of
from trellis_lattice.invocation.crossing import CallCrossing
from trellis_lattice.invocation.headers import DROP_HEADERS, Address, Reply, request_headers
from trellis_lattice.invocation.pending import ACCEPTED_IN_DOUBT, ACCEPTED_WITHIN, Pending, late
from trellis_lattice.invocation.retry import DEFAULT_RETRY, RetryPolicy, delay_before_retry, is_absence
from trellis_lattice.invocation.streams import Outgoing, StreamHub
from trellis_lattice.tracing import SpanKind, Tracing
from trellis_lattice.wit.cbor import DATA_ONLY, dumps, loads

__all__ = ["ACCEPTED_WITHIN", "LatticeInvoker"]

_HEADROOM = 4096
"""Bytes of a message that are left for its headers."""
_DROP_DELAY = 0.005
"""Seconds that dropped handles wait for more of the same owner."""
_DOUBT = 5.0
"""Seconds after a host's death in which calls may still go to it: NATS notices a frozen one after some pings."""
_MAX_KNOWN = 4096
"""Targets of which is remembered that they answered."""


class LatticeInvoker:
    """An `Invoker` for targets anywhere on the lattice. End it with `aclose`.

    `host`: id of the host it runs on, if any. `jitter`: uniform in [0, 1), for the waits between attempts.
    """

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        *,
        tracing: Tracing | None = None,
        host: str | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._connection = connection
        self._lattice = lattice
        self._tracing = tracing or Tracing()
        self._retry = retry
        self._jitter = jitter
        self._hub = StreamHub(connection, host)
        self._pending: set[Pending] = set()
        self._known: dict[str, None] = {}
        """Targets that have answered, until they are found absent for the whole of the policy's patience."""
        self._waiting_again = 0
        self._doubt_until = float("-inf")
        self.on_nobody: Callable[[], None] = lambda: None
        """Called when nobody listens for a target that answered before: its host may have died."""
        self._dropped: defaultdict[str, list[str]] = defaultdict(list)
        self._drop_timer: asyncio.TimerHandle | None = None
        self._stop_listening = connection.listen(self._on_connection)

    async def invoke(self, call: Call) -> Any:
        """The result. Raises the callee's error, or `Unavailable`, `DeadlineExceeded`, `RequestInvalid`,
        `PeerMisbehaved`; with `maybe_executed` in its fields where the call may have had effects."""
        call.attributes["trellis.route"] = "lattice"
        with self._tracing.invocation_span(call, SpanKind.CLIENT):
            codec = codec_of(call.type)
            crossing = None if codec.data_only else CallCrossing(self._hub, call.deadline)
            parts: list[Outgoing] = []
            try:
                payload = codec.encode_args(call.args, crossing or DATA_ONLY, _where(call))
                if len(payload) + _HEADROOM > self._connection.max_payload:
                    payload = self._hub.lower_message(payload, call.deadline, parts.append)
                return await self._send(call, codec, payload, bool(parts), crossing)
            except BaseException:
                for part in parts:
                    part.close()
                if crossing is not None:
                    crossing.close_outgoing()
                raise

    def begin(self, call: Call) -> Awaitable[Any]:
        """As `invoke`; but plain data of a trace that is not recorded is sent at once, and no task need wait for it."""
        codec = codec_of(call.type)
        loop = asyncio.get_running_loop()
        remaining = call.deadline - loop.time()
        if remaining <= 0 or not codec.data_only or not self._tracing.unrecorded():
            return self.invoke(call)
        payload = codec.encode_args(call.args, DATA_ONLY, _where(call))
        direct = _Direct(self, call, codec, payload, loop, self._accepted_within(loop.time()))
        inbox = direct.inbox = self._connection.inbox(direct.on_message)
        self._pending.add(direct)
        if len(payload) + _HEADROOM > self._connection.max_payload or not self._connection.publish_now(
            self._subject(call), payload, reply=inbox.subject, headers=self._headers(call, remaining, False)
        ):
            direct.leave()
            return self.invoke(call)
        return direct.future

    def drop(self, handle: Handle) -> None:
        """Tells the owner that a handle is no longer used. Batched; a handle that is only a name needs none."""
        if handle.owner:
            self._dropped[handle.owner].append(handle.id)
            if self._drop_timer is None:
                loop = asyncio.get_running_loop()
                self._drop_timer = loop.call_later(_DROP_DELAY, self._start_sending_drops)

    def host_gone(self, host: str) -> None:
        """The host is dead: calls that it executes fail now, as do the streams it was sending.

        Of a call that nobody has said to execute it is not known whether the host took it: it fails soon unless
        somebody says so.
        """
        self._doubt_until = asyncio.get_running_loop().time() + _DOUBT
        for pending in tuple(self._pending):
            if pending.host == host:
                pending.fail(
                    Unavailable(f"Host {host} died while it executed the call.", maybe_executed=True, host=host)
                )
            else:
                pending.hurry()
        self._hub.host_gone(host)

    @property
    def waiting(self) -> bool:
        """Whether some call is under way that another host may be executing."""
        return bool(self._pending)

    def executing(self) -> set[str]:
        """The hosts that have said to execute a call of ours."""
        return {pending.host for pending in self._pending if pending.host is not None}

    def _accepted_within(self, now: float) -> float:
        return ACCEPTED_WITHIN if now >= self._doubt_until else ACCEPTED_IN_DOUBT

    async def aclose(self) -> None:
        """Fails what is still under way, and sends the drops that wait. Idempotent."""
        self._stop_listening()
        if self._drop_timer is not None:
            self._drop_timer.cancel()
        await self._send_drops()
        for pending in tuple(self._pending):
            pending.fail(Unavailable("The caller's host is shutting down.", maybe_executed=True))
        await self._hub.aclose()

    async def _send(
        self,
        call: Call,
        codec: CallCodec,
        payload: bytes,
        in_parts: bool,
        crossing: CallCrossing | None,
        attempt: int = 1,
    ) -> Any:
        """Sends until there is an answer or the retry rule says no. `attempt`: the number of the next one."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                kind, data = await self._attempt(call, payload, in_parts, loop)
                self._answered(call.target)
                if kind is not Reply.ERROR:
                    break
                raise from_wire(loads(data))
            except TrellisError as error:
                idempotent = call.idempotent and not in_parts and not (crossing and crossing.outgoing)
                delay = self._retry_delay(call, error, attempt, idempotent, loop.time() - began)
                if delay is None:
                    raise
            await self._pause(delay)
            attempt += 1
        if kind is Reply.OK_PARTS:
            data = await self._hub.lift_message(data, call.deadline)
        return codec.decode_result(data, crossing or DATA_ONLY, _where(call))

    def _retry_delay(
        self, call: Call, error: TrellisError, attempt: int, idempotent: bool, waited: float = 0.0
    ) -> float | None:
        known = call.target in self._known
        delay = delay_before_retry(
            error,
            attempt=attempt,
            idempotent=idempotent,
            on_instance=call.instance is not None,
            remaining=call.deadline - asyncio.get_running_loop().time(),
            jitter=self._jitter(),
            known=known,
            waited=waited,
            crowd=self._waiting_again,
            policy=self._retry,
        )
        if known and is_absence(error):
            self.on_nobody()
            if delay is None and waited >= self._retry.patience:
                self._known.pop(call.target, None)
        return delay

    def _answered(self, target: str) -> None:
        if target not in self._known:
            self._known[target] = None
            if len(self._known) > _MAX_KNOWN:
                del self._known[next(iter(self._known))]

    async def _pause(self, delay: float) -> None:
        self._waiting_again += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._waiting_again -= 1

    async def _attempt(
        self, call: Call, payload: bytes, in_parts: bool, loop: asyncio.AbstractEventLoop
    ) -> tuple[Reply, bytes]:
        """One message there, and its answer."""
        remaining = call.deadline - loop.time()
        if remaining <= 0:
            raise late(call, maybe_executed=False)
        subject = self._subject(call)
        pending = Pending(call, loop, self._accepted_within(loop.time()))
        inbox = self._connection.inbox(pending.on_message)
        self._pending.add(pending)
        try:
            await self._connection.publish(
                subject, payload, reply=inbox.subject, headers=self._headers(call, remaining, in_parts)
            )
            return await pending.answer()
        except (asyncio.CancelledError, TrellisError) as error:
            if isinstance(error, asyncio.CancelledError) or error.fields.get("maybe_executed"):
                self._cancel(call, inbox.subject)
            raise
        finally:
            self._pending.discard(pending)
            inbox.close()

    def _subject(self, call: Call) -> str:
        if call.instance is None:
            return subjects.rpc(self._lattice, call.target)
        return subjects.instance(self._lattice, call.instance)

    def _headers(self, call: Call, remaining: float, in_parts: bool) -> dict[str, str]:
        address = Address(call.source, call.link_name, call.interface, call.function, in_parts)
        return request_headers(address, max(1, int(remaining * 1000)), *self._tracing.inject())

    def _cancel(self, call: Call, reply: str) -> None:
        """Nobody waits for the answer any more: whoever executes the call shall stop."""
        self._hub.tasks.spawn(self._hub.try_publish(subjects.cancel(self._lattice, call.target), reply.encode()))

    def _start_sending_drops(self) -> None:
        self._drop_timer = None
        self._hub.tasks.spawn(self._send_drops())

    async def _send_drops(self) -> None:
        dropped, self._dropped = self._dropped, defaultdict(list)
        for owner, ids in dropped.items():
            try:
                await self._connection.publish(
                    subjects.instance(self._lattice, owner), dumps(ids), headers=DROP_HEADERS
                )
            except TrellisError:
                return  # without a connection the deadline ends them

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            for pending in tuple(self._pending):
                pending.fail(
                    Unavailable(
                        "The connection to NATS was lost before an answer came.",
                        remedy="The connection is made again by itself; check that the server runs.",
                        maybe_executed=True,
                        reason="disconnected",
                        retry_after=1.0,
                    )
                )


def _where(call: Call) -> str:
    """What errors of its values begin with."""
    return f"{call.interface}.{call.function} of {call.target}: "


class _Direct(Pending):
    """The first attempt of a call that no task makes. `future` is the future of the call's own result."""

    __slots__ = ("_codec", "_invoker", "_payload", "_rest", "inbox", "result")

    inbox: Inbox

    def __init__(
        self,
        invoker: LatticeInvoker,
        call: Call,
        codec: CallCodec,
        payload: bytes,
        loop: asyncio.AbstractEventLoop,
        accepted_within: float,
    ) -> None:
        super().__init__(call, loop, accepted_within)
        self._invoker = invoker
        self._codec = codec
        self._payload = payload
        self._rest: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Waits for no message any more."""
        self._timer.cancel()
        self.inbox.close()
        self._invoker._pending.discard(self)

    def answered(self, kind: Reply, data: bytes) -> None:
        self.leave()
        self._invoker._answered(self.call.target)
        try:
            if kind is Reply.OK:
                self._end(self._codec.decode_result(data, DATA_ONLY, _where(self.call)))
            elif kind is Reply.OK_PARTS:
                self._go_on(self._lift(data))
            else:
                raise from_wire(loads(data))
        except TrellisError as error:
            if kind is Reply.ERROR:
                self._failed(error)
            else:
                self._end(error)

    def fail(self, error: TrellisError) -> None:
        if self.future.done() or self._rest is not None:
            return
        self.leave()
        if error.fields.get("maybe_executed"):
            self._invoker._cancel(self.call, self.inbox.subject)
        self._failed(error)

    def cancelled(self) -> None:
        """Nobody waits for the result any more."""
        if self._rest is not None:
            self._rest.cancel()
        else:
            self.leave()
            self._invoker._cancel(self.call, self.inbox.subject)

    def _make_future(self) -> asyncio.Future[Any]:
        self.result = _Result(self)
        return self.result

    def _failed(self, error: TrellisError) -> None:
        delay = self._invoker._retry_delay(self.call, error, 1, self.call.idempotent)
        if delay is None:
            self._end(error)
        else:
            self._go_on(self._again(delay))

    async def _again(self, delay: float) -> Any:
        await self._invoker._pause(delay)
        return await self._invoker._send(self.call, self._codec, self._payload, False, None, attempt=2)

    async def _lift(self, data: bytes) -> Any:
        whole = await self._invoker._hub.lift_message(data, self.call.deadline)
        return self._codec.decode_result(whole, DATA_ONLY, _where(self.call))

    def _go_on(self, rest: Coroutine[Any, Any, Any]) -> None:
        self._rest = self._invoker._hub.tasks.spawn(self._settle(rest))

    async def _settle(self, rest: Coroutine[Any, Any, Any]) -> None:
        try:
            value = await rest
        except BaseException as error:
            if not self.future.done():
                gone = Unavailable("The caller's host is shutting down.", maybe_executed=True)
                self._end(gone if isinstance(error, asyncio.CancelledError) else error)
            if not isinstance(error, Exception):
                raise
        else:
            if not self.future.done():
                self._end(value)

    def _end(self, outcome: Any) -> None:
        """The result, or why there is none (values are never exceptions)."""
        future = self.future
        self.result.call = None
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class _Result(asyncio.Future[Any]):
    """Tells its call when it is cancelled."""

    def __init__(self, call: _Direct) -> None:
        super().__init__()
        self.call: _Direct | None = call

    def cancel(self, msg: Any = None) -> bool:
        done = super().cancel(msg)
        if done and self.call is not None:
            self.call.cancelled()
            self.call = None
        return done
