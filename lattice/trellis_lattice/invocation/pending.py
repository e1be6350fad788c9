"""One message of a call that was sent and is not answered yet, and what its silence means."""

from __future__ import annotations

import asyncio
from typing import Any

from trellis_lattice.bus.connection import Message
from trellis_lattice.errors import DeadlineExceeded, PeerMisbehaved, TrellisError, Unavailable
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.headers import Reply, is_no_responders, parse_reply

__all__ = ["ACCEPTED_IN_DOUBT", "ACCEPTED_WITHIN", "Pending", "late"]

ACCEPTED_WITHIN = 3.0
"""Seconds after which a call that nobody has said to execute counts as lost. Hosts say so after 0.2 s."""
ACCEPTED_IN_DOUBT = 0.6
"""The same, while a host that died may have taken it. A frozen one takes calls until NATS drops its connection."""


class Pending:
    """One message that was sent and is not answered yet."""

    __slots__ = ("_loop", "_timer", "call", "future", "host", "sent")

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop, accepted_within: float = ACCEPTED_WITHIN) -> None:
        self.call = call
        self._loop = loop
        self.future: asyncio.Future[Any] = self._make_future()
        self.sent = loop.time()
        self._timer = loop.call_at(min(call.deadline, self.sent + accepted_within), self._expire)
        self.host: str | None = None
        """Who executes it, once that is known."""

    def _make_future(self) -> asyncio.Future[Any]:
        return self._loop.create_future()

    async def answer(self) -> tuple[Reply, bytes]:
        try:
            answer: tuple[Reply, bytes] | TrellisError = await self.future
        finally:
            self._timer.cancel()
        if isinstance(answer, TrellisError):
            raise answer
        return answer

    def hurry(self) -> None:
        """A host died: if it took this call, nobody will ever say so."""
        if self.host is None and not self.future.done():
            self._timer.cancel()
            self._timer = self._loop.call_at(min(self.call.deadline, self.sent + ACCEPTED_IN_DOUBT), self._expire)

    def fail(self, error: TrellisError) -> None:
        if not self.future.done():
            self.future.set_result(error)

    def on_message(self, message: Message) -> None:
        if self.future.done():
            return
        if is_no_responders(message.headers, message.data):
            self.fail(nobody(self.call))
            return
        try:
            kind, host = parse_reply(message.headers)
        except PeerMisbehaved as error:
            self.fail(error)
            return
        if kind is Reply.ACCEPTED:
            self.host = host
            self._timer.cancel()
            self._timer = self._loop.call_at(self.call.deadline, self._expire)
        else:
            self.answered(kind, message.data)

    def answered(self, kind: Reply, data: bytes) -> None:
        self.future.set_result((kind, data))

    def _expire(self) -> None:
        if self._loop.time() >= self.call.deadline:
            self.fail(late(self.call, maybe_executed=True))
        else:
            self.fail(_lost(self.call, "the host that took it stopped answering"))


def nobody(call: Call) -> Unavailable:
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


def late(call: Call, *, maybe_executed: bool) -> DeadlineExceeded:
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
