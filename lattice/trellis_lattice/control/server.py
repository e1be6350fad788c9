"""A host's end of the control plane: listens, decodes, asks the handler, answers (lattice-protocol 1.1, 1.2).

The laws of this file: an error never goes unanswered and is never empty; requests are handled concurrently,
up to a limit beyond which they are refused; nothing a peer sends ends the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import TypeAdapter

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.control import find, subscriptions
from trellis_lattice.control.envelope import CtlResponse
from trellis_lattice.control.operation import ControlOperation
from trellis_lattice.errors import Overloaded, RequestInvalid, TrellisError

__all__ = ["ControlServer", "Handler"]

_log = logging.getLogger("trellis.control")

Request = TypeVar("Request")
Response = TypeVar("Response")

Handler = Callable[[Any, subjects.ControlSubject], Awaitable[CtlResponse[Any] | None]]
"""Gets the decoded request and the subject; None means: stay silent (an auction not bid for)."""


class ControlServer:
    """Serves one host. Register handlers, then `start`; `aclose` stops listening and ends what is under way."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        host_id: str,
        *,
        prefix: str = subjects.CONTROL_PREFIX,
        max_concurrent: int = 256,
    ) -> None:
        self._connection = connection
        self._lattice = lattice
        self._host_id = host_id
        self._prefix = prefix
        self._limit = max_concurrent
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._subscriptions: list[Subscription] = []
        self._running: set[asyncio.Task[None]] = set()

    def handle(
        self,
        operation: ControlOperation[Request, Response],
        handler: Callable[[Request, subjects.ControlSubject], Awaitable[CtlResponse[Response] | None]],
    ) -> None:
        """Says who handles an operation."""
        self._handlers[operation.noun, operation.verb] = handler

    async def start(self, *, deadline: float) -> None:
        """Listens; returns when the server knows of it, so that an announcement made then is true."""
        for subject, queue in subscriptions(self._lattice, self._host_id, prefix=self._prefix):
            self._subscriptions.append(await self._connection.subscribe(subject, self._receive, queue=queue))
        await self._connection.flush(deadline=deadline)

    async def aclose(self) -> None:
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        self._subscriptions.clear()
        own = asyncio.current_task()
        # A handler that stops the host may be what called us.
        others = [task for task in self._running if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _receive(self, message: Message) -> None:
        task = asyncio.create_task(self._serve(message, len(self._running) >= self._limit))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, message: Message, full: bool) -> None:
        try:
            answer = await self._answer(message, full)
            if answer is not None and message.reply:
                await self._send(message, answer)
        except TrellisError as error:
            _log.warning("No answer was sent to %s: %s", message.subject, error)
        except Exception:
            _log.exception("No answer was sent to %s", message.subject)

    async def _send(self, message: Message, answer: bytes) -> None:
        try:
            await self._connection.publish(message.reply, answer)
        except RequestInvalid as error:  # larger than NATS takes: say so, instead of nothing
            _log.debug("The answer to %s cannot be sent: %s", message.subject, error)
            refusal = RequestInvalid(
                f"The answer to {message.subject} has {len(answer)} bytes, and is larger than NATS accepts"
                f" ({self._connection.max_payload}).",
                remedy="Raise max_payload of the NATS server.",
                **error.fields,
            )
            await self._connection.publish(message.reply, _refusal(refusal))

    async def _answer(self, message: Message, full: bool) -> bytes | None:
        subject = subjects.parse_control(message.subject, prefix=self._prefix)
        operation = find(subject) if subject is not None else None
        handler = self._handlers.get((operation.noun, operation.verb)) if operation is not None else None
        if subject is None or operation is None or handler is None:
            return _refusal(RequestInvalid("unsupported subject", subject=message.subject))
        try:
            if full:
                raise Overloaded(
                    f"Host {self._host_id} is busy with {self._limit} control operations.", retry_after=1.0
                )
            response = await handler(operation.decode_request(message.data), subject)
            return None if response is None else operation.encode_response(response)
        except TrellisError as error:
            return _refusal(error)
        except Exception as error:
            _log.exception("%s failed", operation.name)
            return _refusal(TrellisError(f"{operation.name} failed on host {self._host_id}: {error!r:.500}"))


_NOTHING: TypeAdapter[None] = TypeAdapter(None)


def _refusal(error: TrellisError) -> bytes:
    return CtlResponse[None].failed(error).to_json(_NOTHING)
