"""Every error Trellis raises on purpose, in flat families by the question the caller asks.

    TrellisError
    ├─ RequestInvalid     you sent something wrong; sending it again will not help
    ├─ PeerMisbehaved     the other side broke the protocol
    ├─ NotFound           the named thing does not exist
    ├─ Conflict           the named thing exists or changed meanwhile
    ├─ Unavailable        nobody can answer now; `retry_after` says when to try again
    ├─ Overloaded         refused before it started, because every slot is taken
    ├─ Denied             not granted
    ├─ DeadlineExceeded   the caller's deadline passed
    ├─ InvocationFailed   the component trapped
    └─ ConfigError        a configuration value is missing or wrong

The laws of this file: an error says what, where and what to do (`remedy`); it carries fields, not only
text; it crosses the lattice as the same class (`to_wire`, `from_wire`). Foreign exceptions (nats,
wasmtime, the operating system) are translated where that library is called, in one place each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

__all__ = [
    "TOO_LARGE",
    "ConfigError",
    "Conflict",
    "DeadlineExceeded",
    "Denied",
    "InvocationFailed",
    "NotFound",
    "Overloaded",
    "PeerMisbehaved",
    "RequestInvalid",
    "TrellisError",
    "Unavailable",
    "from_wire",
]

TOO_LARGE = "too-large"
"""`reason` among the fields of a `RequestInvalid`: NATS takes no message as large as this one."""
_MAX_TEXT = 8 * 1024
"""Longest text of one field on the wire, in characters: an error may not be used to flood its caller."""


class TrellisError(Exception):
    """Root of all errors that Trellis raises on purpose.

    `message` says what and where, `remedy` what to do about it; `fields` holds what code may want to read.
    """

    code: ClassVar[str] = "internal"
    """Stable name on the wire and in `-o json`."""

    def __init__(self, message: str, *, remedy: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.fields: Mapping[str, Any] = fields

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message

    def to_wire(self) -> dict[str, Any]:
        """CBOR- and JSON-ready form: `{code, message, remedy?, fields?}`."""
        wire: dict[str, Any] = {"code": self.code, "message": self.message[:_MAX_TEXT]}
        if self.remedy:
            wire["remedy"] = self.remedy[:_MAX_TEXT]
        fields = {k: v[:_MAX_TEXT] if isinstance(v, str) else v for k, v in self.fields.items() if v is not None}
        if fields:
            wire["fields"] = fields
        return wire

    @classmethod
    def _rebuild(cls, message: str, remedy: str | None, fields: Mapping[str, Any]) -> Self:
        return cls(message, remedy=remedy, **{str(k): v for k, v in fields.items() if k not in ("message", "remedy")})


class RequestInvalid(TrellisError):
    """The request is wrong in itself: bad name, bad type, too large, malformed."""

    code = "request-invalid"


class PeerMisbehaved(TrellisError):
    """The other side answered something the protocol does not allow."""

    code = "peer-misbehaved"


class NotFound(TrellisError):
    """The named thing does not exist."""

    code = "not-found"


class Conflict(TrellisError):
    """The named thing already exists, differs, or was changed by someone else meanwhile."""

    code = "conflict"


class Unavailable(TrellisError):
    """Nobody can answer at the moment.

    `retry_after`: seconds until it is worth trying again, if known. `maybe_executed`: the call may have had
    effects before it was lost; without it the call certainly did not start.
    """

    code = "unavailable"

    @property
    def retry_after(self) -> float | None:
        value = self.fields.get("retry_after")
        return float(value) if value is not None else None

    @property
    def maybe_executed(self) -> bool:
        return bool(self.fields.get("maybe_executed", False))


class Overloaded(TrellisError):
    """Refused before it started: every slot is taken and the bounded wait is over. Carries `retry_after`."""

    code = "overloaded"

    @property
    def retry_after(self) -> float:
        return float(self.fields.get("retry_after", 1.0))


class Denied(TrellisError):
    """Not granted by manifest or policy."""

    code = "denied"


class DeadlineExceeded(TrellisError):
    """The caller's deadline passed before there was an answer."""

    code = "deadline-exceeded"


class InvocationFailed(TrellisError):
    """The component trapped. Fields: `component`, `interface`, `function`, `trap`, `backtrace`."""

    code = "invocation-failed"


class ConfigError(TrellisError):
    """A configuration value is missing or wrong. Fields: `key`, `value` where known."""

    code = "config-error"


_BY_CODE: Mapping[str, type[TrellisError]] = {
    cls.code: cls
    for cls in (
        RequestInvalid,
        PeerMisbehaved,
        NotFound,
        Conflict,
        Unavailable,
        Overloaded,
        Denied,
        DeadlineExceeded,
        InvocationFailed,
        ConfigError,
        TrellisError,
    )
}


def from_wire(wire: object) -> TrellisError:
    """The error that a peer sent; `PeerMisbehaved` if it is not one. An unknown code becomes `TrellisError`."""
    if not isinstance(wire, Mapping):
        return PeerMisbehaved(f"A peer answered with an error that is not a map but {type(wire).__name__}.")
    message, remedy, fields = wire.get("message"), wire.get("remedy"), wire.get("fields", {})
    if not isinstance(message, str) or not isinstance(fields, Mapping):
        return PeerMisbehaved("A peer answered with an error that has no message.")
    cls = _BY_CODE.get(str(wire.get("code")), TrellisError)
    return cls._rebuild(message[:_MAX_TEXT], remedy[:_MAX_TEXT] if isinstance(remedy, str) else None, fields)
