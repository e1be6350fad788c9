"""The JetStream API, as far as buckets need it: requests in JSON, and what its errors mean.

Written on plain request/reply instead of nats-py's context, so that deadlines, failing fast and errors are
those of `Connection`. Formats: https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from trellis_lattice.bus.connection import Connection, Message
from trellis_lattice.errors import Conflict, NotFound, PeerMisbehaved, RequestInvalid, Unavailable

__all__ = ["JetStream"]

_WRONG_REVISION = (10071, 10164)
_DISABLED = "Run the NATS server with JetStream enabled (`nats-server -js`)."


class JetStream:
    """Calls on one connection; `domain` as in `--js-domain`."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        domain = connection.settings.jetstream_domain
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"

    async def call(self, operation: str, body: Mapping[str, Any] | None = None, *, deadline: float) -> dict[str, Any]:
        """The answer of `<prefix>.<operation>`. Raises `NotFound`, `Conflict`, `Unavailable`, `RequestInvalid`."""
        payload = json.dumps(body).encode() if body is not None else b""
        message = await self._request(f"{self.prefix}.{operation}", payload, None, deadline)
        return _parsed(message, operation)

    async def direct(self, operation: str, *, deadline: float) -> Message:
        """As `call`, for operations that answer with a stored message."""
        return await self._request(f"{self.prefix}.{operation}", b"", None, deadline)

    async def publish(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, *, deadline: float
    ) -> int:
        """Stores a message and returns its sequence number. Raises as `call` does."""
        answer = _parsed(await self._request(subject, payload, headers, deadline), subject)
        sequence = answer.get("seq")
        if not isinstance(sequence, int):
            raise PeerMisbehaved(f"JetStream acknowledged {subject} without a sequence number.")
        return sequence

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


def _parsed(message: Message, operation: str) -> dict[str, Any]:
    try:
        answer = json.loads(message.data)
    except ValueError as error:
        raise PeerMisbehaved(f"JetStream answered {operation} with something that is not JSON.") from error
    if not isinstance(answer, dict):
        raise PeerMisbehaved(f"JetStream answered {operation} with something that is not an object.")
    refusal = answer.get("error")
    if isinstance(refusal, dict):
        _fail(operation, refusal)
    return answer


def _fail(operation: str, error: Mapping[str, Any]) -> NoReturn:
    code, number, text = error.get("code"), error.get("err_code"), str(error.get("description", "no reason given"))
    message = f"JetStream refused {operation}: {text}."
    if number in _WRONG_REVISION:
        raise Conflict(message, err_code=number)
    if code == 404:
        raise NotFound(message, err_code=number)
    if code in (500, 503, 408):
        raise Unavailable(message, remedy=_DISABLED if "not enabled" in text else None, retry_after=1.0)
    raise RequestInvalid(message, err_code=number)
