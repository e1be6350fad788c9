"""How a client asks: one host, any host, or all of them; and how it waits for what came of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Self, TypeVar

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, ConnectionSettings, Message
from trellis_lattice.control import Answerers, ControlOperation, CtlResponse
from trellis_lattice.errors import DeadlineExceeded, TrellisError, Unavailable
from trellis_lattice.events import LatticeEvent
from trellis_lattice.events.feed import EventFeed
from trellis_lattice.ids import short

__all__ = ["QUIET", "TIMEOUT", "Asking", "deadline_in"]

Request = TypeVar("Request")
Response = TypeVar("Response")

TIMEOUT = 2.0
"""Seconds for one control operation, as v1's clients have it."""
QUIET = 0.25
"""Seconds without another answer after which a question to all hosts counts as answered."""


class Asking:
    """A connection to one lattice, and the ways to ask over it."""

    def __init__(
        self,
        connection: Connection,
        lattice: str = subjects.DEFAULT_LATTICE,
        *,
        control_prefix: str = subjects.CONTROL_PREFIX,
        event_prefix: str = subjects.EVENT_PREFIX,
    ) -> None:
        self.connection = connection
        self.lattice = subjects.check_lattice(lattice)
        self._control_prefix = control_prefix
        self._event_prefix = event_prefix
        self._owns_connection = False

    @classmethod
    async def connect(
        cls,
        settings: ConnectionSettings,
        lattice: str = subjects.DEFAULT_LATTICE,
        *,
        timeout: float = 5.0,
        control_prefix: str = subjects.CONTROL_PREFIX,
        event_prefix: str = subjects.EVENT_PREFIX,
    ) -> Self:
        """A client with a connection of its own, which `aclose` closes. Raises `Unavailable`, `Denied`."""
        subjects.check_lattice(lattice)
        connection = await Connection.connect(settings, timeout=timeout)
        self = cls(connection, lattice, control_prefix=control_prefix, event_prefix=event_prefix)
        self._owns_connection = True
        return self

    async def aclose(self) -> None:
        if self._owns_connection:
            await self.connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def events(self) -> EventFeed:
        """Events from the moment the feed is entered on (`async with`)."""
        return EventFeed(self.connection, self.lattice, prefix=self._event_prefix)

    async def _ask(
        self, operation: ControlOperation[Request, Response], request: Request, argument: str | None, timeout: float
    ) -> Response | None:
        return (await self._call(operation, request, argument, timeout)).unwrap()

    async def _command(
        self, operation: ControlOperation[Request, None], request: Request, argument: str | None, timeout: float
    ) -> str:
        """The message of the acknowledgement."""
        response = await self._call(operation, request, argument, timeout)
        response.unwrap()
        return response.message

    async def _command_and_wait(
        self,
        operation: ControlOperation[Request, None],
        request: Request,
        host_id: str,
        timeout: float,
        wait: float | None,
        outcome: Callable[[LatticeEvent], Response | None],
    ) -> Response | None:
        if wait is None:
            await self._command(operation, request, host_id, timeout)
            return None
        async with self.events() as feed:
            await self._command(operation, request, host_id, timeout)
            return await self._outcome(feed, outcome, operation.name, host_id, wait)

    async def _outcome(
        self,
        feed: EventFeed,
        outcome: Callable[[LatticeEvent], Response | None],
        operation: str,
        host_id: str,
        wait: float,
    ) -> Response:
        """What came of a command that a host took. Raises `DeadlineExceeded` after `wait` seconds."""
        try:
            return await feed.wait(outcome, deadline=deadline_in(wait))
        except DeadlineExceeded:
            raise DeadlineExceeded(
                f"Host {short(host_id)} took the command {operation}, but nothing came of it in {wait:g} s.",
                remedy="It may still be working on it: `trellis get inventory` and `trellis logs` say more.",
                host=host_id,
            ) from None

    async def _call(
        self, operation: ControlOperation[Request, Response], request: Request, argument: str | None, timeout: float
    ) -> CtlResponse[Response]:
        subject = operation.subject(self.lattice, argument, prefix=self._control_prefix)
        payload = operation.encode_request(request)
        addressed = operation.answerers is Answerers.ADDRESSED
        try:
            message = await self.connection.request(subject, payload, deadline=deadline_in(timeout))
        except Unavailable as error:
            if error.fields.get("reason") != "no-answerer":
                raise
            raise (self._host_away(argument) if addressed else self._no_host()) from error
        except DeadlineExceeded as error:
            who = f"Host {short(argument or '')}" if addressed else "The host that was asked"
            raise DeadlineExceeded(
                f"{who} on lattice `{self.lattice}` did not answer {operation.name} within {timeout:g} s.",
                remedy="It may be busy or frozen; try again with a longer timeout.",
                host=argument if addressed else None,
            ) from error
        return operation.decode_response(message.data)

    async def _ask_all(
        self,
        operation: ControlOperation[Request, Response],
        request: Request,
        timeout: float,
        expect: Collection[str],
        who: Callable[[Response], str],
        quiet: float | None,
    ) -> list[Response]:
        """The answers of all hosts. One that cannot be read does not spoil the others."""
        subject = operation.subject(self.lattice, prefix=self._control_prefix)
        missing = set(expect)
        read: list[Response] = []

        def enough(messages: Sequence[Message]) -> bool:
            try:
                answer = operation.decode_response(messages[-1].data).unwrap()
            except TrellisError:
                return False
            if answer is not None:
                read.append(answer)
                missing.discard(who(answer))
            return bool(expect) and not missing

        await self.connection.gather(
            subject,
            operation.encode_request(request),
            deadline=deadline_in(timeout),
            enough=enough,
            quiet=None if expect else quiet,
        )
        return read

    def _no_host(self) -> Unavailable:
        return Unavailable(
            f"No host answered on lattice `{self.lattice}` ({self.connection.url}).",
            remedy="Start one with `trellis up` or `trellis host run`, or name another lattice with --lattice.",
            retry_after=1.0,
            reason="no-host",
        )

    def _host_away(self, host_id: str | None) -> Unavailable:
        return Unavailable(
            f"Host {short(host_id or '')} is not on lattice `{self.lattice}`.",
            remedy="`trellis get hosts` lists those that are.",
            retry_after=1.0,
            reason="no-host",
            host=host_id,
        )


def deadline_in(timeout: float) -> float:
    """`timeout` seconds from now, on the event loop's clock."""
    return asyncio.get_running_loop().time() + timeout
