"""Between `wasi:http` error-codes, Trellis errors and HTTP status codes. Pure."""

from __future__ import annotations

from typing import Final

from trellis_lattice.errors import (
    DeadlineExceeded,
    Denied,
    NotFound,
    Overloaded,
    RequestInvalid,
    TrellisError,
    Unavailable,
)
from trellis_lattice.http import ERROR_CODE
from trellis_lattice.wit.types import Option
from trellis_lattice.wit.values import Case

__all__ = ["code_of", "http_failure", "status_of"]

_WITHOUT_VALUE: Final = frozenset(
    name for name, payload in ERROR_CODE.cases if payload is None or isinstance(payload, Option)
)
"""Codes that can be given with a payload of None."""
_EMPTY: Final = {
    "DNS-error": {"rcode": None, "info-code": None},
    "TLS-alert-received": {"alert-id": None, "alert-message": None},
}
_BY_CLASS: Final[tuple[tuple[type[TrellisError], str], ...]] = (
    (DeadlineExceeded, "HTTP-response-timeout"),
    (Denied, "HTTP-request-denied"),
    (NotFound, "destination-not-found"),
    (Overloaded, "destination-unavailable"),
    (RequestInvalid, "HTTP-protocol-error"),
)
_STATUS: Final = {
    "DNS-timeout": 504,
    "connection-timeout": 504,
    "connection-read-timeout": 504,
    "connection-write-timeout": 504,
    "HTTP-response-timeout": 504,
    "connection-limit-reached": 503,
    "destination-unavailable": 503,
    "HTTP-request-denied": 403,
    "HTTP-request-length-required": 411,
    "HTTP-request-body-size": 413,
    "HTTP-request-method-invalid": 400,
    "HTTP-request-URI-invalid": 400,
    "HTTP-request-URI-too-long": 414,
    "HTTP-request-header-section-size": 431,
    "HTTP-request-header-size": 431,
    "HTTP-request-trailer-section-size": 431,
    "HTTP-request-trailer-size": 431,
    "loop-detected": 508,
    "configuration-error": 500,
    "internal-error": 500,
}


def http_failure(name: str, message: str) -> TrellisError:
    """A failed request as a Trellis error that `code_of` turns back into error-code `name`."""
    return Unavailable(message, http_error=name, maybe_executed=True)


def code_of(error: TrellisError) -> Case:
    """The error-code a component is told for `error`."""
    name = error.fields.get("http_error")
    if isinstance(name, str):
        if name in _EMPTY:
            return Case(name, _EMPTY[name])
        if name in _WITHOUT_VALUE:
            return Case(name)
    for family, code in _BY_CLASS:
        if isinstance(error, family):
            return Case(code)
    if isinstance(error, Unavailable):
        return Case("connection-terminated" if error.maybe_executed else "destination-unavailable")
    return Case("internal-error", error.message[:1024])


def status_of(code: Case) -> int:
    """The HTTP status for a component that answers with an error-code instead of a response."""
    return _STATUS.get(code.name, 502)
