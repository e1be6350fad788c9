"""Makes calls over the lattice: `LatticeInvoker`.

The laws of this file: a call costs one message there and one back while its values are short; it ends with
its deadline, with the connection, with its callee's host, or with an answer, whichever is first; a caller
that is cancelled tells the callee; a call is sent again only by the rule of `retry.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from trellis_lattice.bus.connection import Connection, Message
from trellis_lattice.errors import DeadlineExceeded, PeerMisbehaved, TrellisError, Unavailable, from_wire
from trellis_lattice.invocation import subjects
from trellis_lattice.invocation.api import Call, Handle
from trellis_lattice.invocation.codec import CallCodec, codec_of
from trellis_lattice.invocation.crossing import CallCrossing
from trellis_lattice.invocation.headers import (
    DROP_HEADERS,
    Address,
    Reply,
    is_no_responders,
    parse_reply,
    request_headers,
)
from trellis_lattice.invocation.retry import DEFAULT_RETRY, RetryPolicy, delay_before_retry
from trellis_lattice.invocation.streams import Outgoing, StreamHub
from trellis_lattice.tracing import SpanKind, Tracing
from trellis_lattice.wit.cbor import DATA_ONLY, dumps, loads

__all__ = ["ACCEPTED_WITHIN", "LatticeInvoker"]

ACCEPTED_WITHIN = 3.0
"""Seconds after which a call that nobody has said to execute counts as lost. Hosts say so after 0.2 s."""
_HEADROOM = 4096
"""Bytes of a message that are left for its headers."""
_DROP_DELAY = 0.005
"""Seconds that dropped handles wait for more of the same owner."""


class _Pending:
    """One message that was sent and is not answered yet."""

    __slots__ = ("_call", "_future", "_loop", "_timer", "host")

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop
        self._future: asyncio.Future[tuple[Reply, bytes] | TrellisError] = loop.create_future()
        self._timer = loop.call_at(min(call.deadline, loop.time() + ACCEPTED_WITHIN), self._expire)
        self.host: str | None = None
        """Who executes it, once that is known."""

    async def answer(self) -> tuple[Reply, bytes]:
        try:
            answer = await self._future
        finally:
            self._timer.cancel()
        if isinstance(answer, TrellisError):
            raise answer
        return answer

    def fail(self, error: TrellisError) -> None:
        if not self._future.done():
            self._future.set_result(error)

    def on_message(self, message: Message) -> None:
        if self._future.done():
            return
        if is_no_responders(message.headers, message.data):
            self.fail(_nobody(self._call))
            return
        try:
            kind, host = parse_reply(message.headers)
        except PeerMisbehaved as error:
            self.fail(error)
            return
        if kind is Reply.ACCEPTED:
            self.host = host
            self._rearm()
        else:
            self._future.set_result((kind, message.data))

    def _rearm(self) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_at(self._call.deadline, self._expire)

    def _expire(self) -> None:
        if self._loop.time() >= self._call.deadline:
            self.fail(_late(self._call, maybe_executed=True))
        else:
            self.fail(_lost(self._call, "the host that took it stopped answering"))


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
        self._pending: set[_Pending] = set()
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
                where = f"{call.interface}.{call.function} of {call.target}: "
                payload = codec.encode_args(call.args, crossing or DATA_ONLY, where)
                if len(payload) + _HEADROOM > self._connection.max_payload:
                    payload = self._hub.lower_message(payload, call.deadline, parts.append)
                return await self._send(call, codec, payload, bool(parts), crossing, where)
            except BaseException:
                for part in parts:
                    part.close()
                if crossing is not None:
                    crossing.close_outgoing()
                raise

    def drop(self, handle: Handle) -> None:
        """Tells the owner that a handle is no longer used. Batched; a handle that is only a name needs none."""
        if handle.owner:
            self._dropped[handle.owner].append(handle.id)
            if self._drop_timer is None:
                loop = asyncio.get_running_loop()
                self._drop_timer = loop.call_later(_DROP_DELAY, self._start_sending_drops)

    def host_gone(self, host: str) -> None:
        """The host is dead: calls that it executes fail now, as do the streams it was sending."""
        for pending in [each for each in self._pending if each.host == host]:
            pending.fail(Unavailable(f"Host {host} died while it executed the call.", maybe_executed=True, host=host))
        self._hub.host_gone(host)

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
        self, call: Call, codec: CallCodec, payload: bytes, in_parts: bool, crossing: CallCrossing | None, where: str
    ) -> Any:
        """Sends until there is an answer or the retry rule says no."""
        attempt = 1
        loop = asyncio.get_running_loop()
        while True:
            try:
                kind, data = await self._attempt(call, payload, in_parts, loop)
                if kind is not Reply.ERROR:
                    break
                raise from_wire(loads(data))
            except TrellisError as error:
                delay = delay_before_retry(
                    error,
                    attempt=attempt,
                    idempotent=call.idempotent and not in_parts and not (crossing and crossing.outgoing),
                    on_instance=call.instance is not None,
                    remaining=call.deadline - loop.time(),
                    jitter=self._jitter(),
                    policy=self._retry,
                )
                if delay is None:
                    raise
            await asyncio.sleep(delay)
            attempt += 1
        if kind is Reply.OK_PARTS:
            data = await self._hub.lift_message(data, call.deadline)
        return codec.decode_result(data, crossing or DATA_ONLY, where)

    async def _attempt(
        self, call: Call, payload: bytes, in_parts: bool, loop: asyncio.AbstractEventLoop
    ) -> tuple[Reply, bytes]:
        """One message there, and its answer."""
        remaining = call.deadline - loop.time()
        if remaining <= 0:
            raise _late(call, maybe_executed=False)
        if call.instance is None:
            subject = subjects.rpc(self._lattice, call.target)
        else:
            subject = subjects.instance(self._lattice, call.instance)
        pending = _Pending(call, loop)
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


def _nobody(call: Call) -> Unavailable:
    if call.instance is not None:
        return Unavailable(
            f"The owner of a resource is gone: {call.interface}.{call.function} of {call.target}.",
            remedy="Make the resource again.",
            reason="owner-gone",
        )
    return Unavailable(
        f"Nothing on the lattice answers for {call.target!r} at the moment.",
        remedy="Check with `trellis get hosts` and `trellis get apps` that it runs somewhere.",
        reason="no-answerer",
        target=call.target,
        retry_after=1.0,
    )


def _late(call: Call, *, maybe_executed: bool) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"{call.interface}.{call.function} of {call.target!r} did not answer within its deadline.",
        remedy="Raise the timeout of the caller, or look at the trace for what took the time.",
        target=call.target,
        interface=call.interface,
        function=call.function,
        maybe_executed=maybe_executed,
    )


def _lost(call: Call, why: str) -> Unavailable:
    return Unavailable(
        f"{call.interface}.{call.function} of {call.target!r} was lost: {why}.",
        remedy="Send it again if that is safe.",
        target=call.target,
        maybe_executed=True,
    )
