"""The JetStream API, as far as buckets need it: requests in JSON, and what its errors mean.

Written on plain request/reply instead of nats-py's context, so that deadlines, failing fast and errors are
those of `Connection`. Formats: https://docs.nats.io/reference/reference-protocols/nats_api_reference

In a cluster the server that answers may just have died: questions are then asked again until the deadline, and a
message that carries an id of its own (`publish`) is sent again, because JetStream stores an id only once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from nats.nuid import NUID

from trellis_lattice.bus.connection import Connection, Message
from trellis_lattice.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    PeerMisbehaved,
    RequestInvalid,
    TrellisError,
    Unavailable,
)

__all__ = ["JetStream"]

_WRONG_REVISION = (10071, 10164)
_UNSETTLED = (10008, 10009)
"""There is no leader at the moment: nothing was done."""
_FULL = (10002, 10023, 10028, 10047, 10077)
"""Limits of the account, of the server's memory or file storage, of the stream."""
_DISABLED = "Run the NATS server with JetStream enabled (`nats-server -js`)."
_MAKE_ROOM = (
    "Give JetStream more room (max_file_store of the server, limits of the account, max_bytes of the stream) or delete "
    "streams; `trellis doctor` shows what is used."
)
_ASK_AGAIN = 1.0
"""Seconds without an answer after which an answerer is taken for dead."""
_PAUSE = 0.1


class JetStream:
    """Calls on one connection; `domain` as in `--js-domain`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        domain = connection.settings.jetstream_domain
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"
        # A server maps `$JS.<domain>.API.$KV.…` to `$KV.…` in its domain; without that it would be stored in ours.
        self._stored_below = f"{self.prefix}." if domain else ""
        self._ids = NUID()

    async def call(self, operation: str, body: Mapping[str, Any] | None = None, *, deadline: float) -> dict[str, Any]:
        """The answer of `<prefix>.<operation>`. Raises `NotFound`, `Conflict`, `Unavailable`, `RequestInvalid`.

        It may be asked again: every operation that is used here does nothing new the second time.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        while True:
            message = await self._persist(f"{self.prefix}.{operation}", payload, None, deadline)
            try:
                return _parsed(message, operation)
            except Unavailable as error:
                if error.fields.get("reason") != "no-leader" or not await _pause(deadline):
                    raise

    async def direct(self, operation: str, *, deadline: float) -> Message:
        """As `call`, for operations that answer with a stored message."""
        return await self._persist(f"{self.prefix}.{operation}", b"", None, deadline)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        deadline: float,
        once: bool = False,
    ) -> int:
        """Stores a message and returns its sequence number. Raises as `call` does.

        `once`: with an id, which makes it safe to send it again when no answer comes. The server remembers each id
        for two minutes.
        """
        if once:
            headers = {**(headers or {}), "Nats-Msg-Id": self._ids.next().decode()}
        ask = self._persist if once else self._request
        answer = _parsed(await ask(self._stored_below + subject, payload, headers, deadline), subject)
        sequence = answer.get("seq")
        if not isinstance(sequence, int):
            raise PeerMisbehaved(f"JetStream acknowledged {subject} without a sequence number.")
        return sequence

    async def _persist(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, deadline: float
    ) -> Message:
        """Asks again for as long as nobody answers."""
        loop = asyncio.get_running_loop()
        while True:
            until = min(deadline, loop.time() + _ASK_AGAIN)
            try:
                return await self._request(subject, payload, headers, until)
            except DeadlineExceeded:
                if loop.time() + _PAUSE >= deadline:
                    raise

    async def _request(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, deadline: float
    ) -> Message:
        try:
            return await self.connection.request(subject, payload, deadline=deadline, headers=headers)
        except Unavailable as error:
            if error.fields.get("reason") != "no-answerer":
                raise
            raise Unavailable(
                f"JetStream at {self.connection.url} does not answer, or the bucket behind {subject} is gone.",
                remedy=_DISABLED,
                retry_after=1.0,
                reason="no-jetstream",
            ) from error


async def _pause(deadline: float) -> bool:
    """Whether there is time for another try, and that time has come."""
    if asyncio.get_running_loop().time() + _PAUSE >= deadline:
        return False
    await asyncio.sleep(_PAUSE)
    return True


def _parsed(message: Message, operation: str) -> dict[str, Any]:
    try:
        answer = json.loads(message.data)
    except ValueError as error:
        raise PeerMisbehaved(f"JetStream answered {operation} with something that is not JSON.") from error
    if not isinstance(answer, dict):
        raise PeerMisbehaved(f"JetStream answered {operation} with something that is not an object.")
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        raise _meaning(operation, refusal)
    return answer


def _meaning(operation: str, error: Mapping[str, Any]) -> TrellisError:
    code, number, text = error.get("code"), error.get("err_code"), str(error.get("description", "no reason given"))
    message = f"JetStream refused {operation}: {text}."
    if number in _WRONG_REVISION:
        return Conflict(message, err_code=number)
    if code == 404:
        return NotFound(message, err_code=number)
    if number in _FULL:
        full = f"There is no room left in JetStream for {operation}: {text}."
        return Unavailable(full, remedy=_MAKE_ROOM, retry_after=5.0, reason="storage-full", err_code=number)
    if number in _UNSETTLED:
        remedy = "The servers of its cluster are choosing a leader; if that lasts, more than half of them are away."
        return Unavailable(message, remedy=remedy, retry_after=1.0, reason="no-leader", err_code=number)
    if code in (500, 503, 408):
        disabled = _DISABLED if "not enabled" in text else None
        return Unavailable(message, remedy=disabled, retry_after=1.0, err_code=number)
    return RequestInvalid(message, err_code=number)
