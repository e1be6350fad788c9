"""The envelope around every control reply (lattice-protocol 1.1). Pure.

A refusal of ours also carries the error itself under `error`, which v1 clients ignore, so that it arrives as
the class it was raised as.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from trellis_lattice.errors import Conflict, NotFound, PeerMisbehaved, TrellisError, from_wire
from trellis_lattice.wire import MAX_MESSAGE

__all__ = ["CtlResponse"]

T = TypeVar("T")

_NOT_FOUND = ("not found", "not running", "does not exist", "no such")
_CONFLICT = ("already",)


@dataclass(frozen=True, slots=True)
class CtlResponse(Generic[T]):
    """`success` with `response` or `message`; or a failure with `message`."""

    success: bool
    message: str = ""
    response: T | None = None
    error: TrellisError | None = None

    @classmethod
    def ok(cls, response: T) -> CtlResponse[T]:
        """Success with data, which has no message."""
        return cls(True, "", response)

    @classmethod
    def done(cls, message: str = "") -> CtlResponse[T]:
        """Success without data."""
        return cls(True, message)

    @classmethod
    def failed(cls, error: TrellisError) -> CtlResponse[T]:
        """A refusal. v1 clients see the message alone."""
        return cls(False, error.message, None, error)

    def to_json(self, adapter: TypeAdapter[Any]) -> bytes:
        envelope: dict[str, Any] = {"success": self.success, "message": self.message}
        if self.response is not None:
            envelope["response"] = adapter.dump_python(self.response, mode="json", by_alias=True)
        if self.error is not None:
            envelope["error"] = self.error.to_wire()
        return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, payload: bytes, adapter: TypeAdapter[T], operation: str) -> CtlResponse[T]:
        """Raises `PeerMisbehaved` for anything that is not an envelope with the right data."""
        try:
            if len(payload) > MAX_MESSAGE:
                raise ValueError(f"{len(payload)} bytes")
            envelope = json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise PeerMisbehaved(f"The answer to {operation} is not JSON: {error}.", operation=operation) from None
        if not isinstance(envelope, Mapping):
            raise PeerMisbehaved(f"The answer to {operation} is not an object.", operation=operation)
        success, message, data = envelope.get("success"), envelope.get("message"), envelope.get("response")
        if not isinstance(success, bool) or not isinstance(message, str):
            raise PeerMisbehaved(f"The answer to {operation} has no success and message.", operation=operation)
        if not success:
            wire = envelope.get("error")
            return cls(False, message, None, from_wire(wire) if wire is not None else _guess(message, operation))
        try:
            return cls(True, message, adapter.validate_python(data) if data is not None else None)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise PeerMisbehaved(
                f"The answer to {operation} is malformed at {place or 'its root'}: {first['msg']}.", operation=operation
            ) from None

    def unwrap(self) -> T | None:
        """The data; raises the error of a failure."""
        if not self.success:
            raise self.error or TrellisError(self.message)
        return self.response


def _guess(message: str, operation: str) -> TrellisError:
    """A v1 host gives a text only."""
    text = message.lower()
    if any(word in text for word in _NOT_FOUND):
        return NotFound(message, operation=operation)
    if any(word in text for word in _CONFLICT):
        return Conflict(message, operation=operation)
    return TrellisError(message or f"{operation} was refused without a reason.", operation=operation)
