"""An HTTP exchange as it crosses a link: the arguments and the result of `wasi:http/incoming-handler.handle`.

`wasi:http` hands requests over as resources of the host. Between provider and component they travel as these
two records, bodies as streams, in the process and across the lattice alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trellis_lattice.streams import EMPTY, ByteStream, Fields
from trellis_lattice.wit.types import FuncType, ListType, Option, Primitive, Record, Result, Stream, Tuple, Variant

__all__ = ["HANDLE", "HANDLE_TYPE", "INCOMING_HANDLER", "OUTGOING_HANDLER", "HttpRequest", "HttpResponse"]

INCOMING_HANDLER = "wasi:http/incoming-handler"
OUTGOING_HANDLER = "wasi:http/outgoing-handler"
HANDLE = "handle"


@dataclass(slots=True)
class HttpRequest:
    """`method` in upper case; `path_with_query` as received; header names in lower case, in order."""

    method: str
    path_with_query: str | None
    scheme: str | None
    authority: str | None
    headers: Fields = field(default_factory=list)
    body: ByteStream = field(default_factory=EMPTY)


@dataclass(slots=True)
class HttpResponse:
    """`status` 100–599; trailers come with the body."""

    status: int
    headers: Fields = field(default_factory=list)
    body: ByteStream = field(default_factory=EMPTY)


_STRING = Primitive.STRING
_FIELDS = ListType(Tuple((_STRING, ListType(Primitive.U8))))
_REQUEST = Record(
    (
        ("method", _STRING),
        ("path-with-query", Option(_STRING)),
        ("scheme", Option(_STRING)),
        ("authority", Option(_STRING)),
        ("headers", _FIELDS),
        ("body", Stream()),
    )
)
_RESPONSE = Record((("status", Primitive.U16), ("headers", _FIELDS), ("body", Stream())))
_DNS_ERROR = Record((("rcode", Option(_STRING)), ("info-code", Option(Primitive.U16))))
_TLS_ALERT = Record((("alert-id", Option(Primitive.U8)), ("alert-message", Option(_STRING))))
_FIELD_SIZE = Record((("field-name", Option(_STRING)), ("field-size", Option(Primitive.U32))))
_U32 = Option(Primitive.U32)
_U64 = Option(Primitive.U64)

ERROR_CODE = Variant(
    (
        ("DNS-timeout", None),
        ("DNS-error", _DNS_ERROR),
        ("destination-not-found", None),
        ("destination-unavailable", None),
        ("destination-IP-prohibited", None),
        ("destination-IP-unroutable", None),
        ("connection-refused", None),
        ("connection-terminated", None),
        ("connection-timeout", None),
        ("connection-read-timeout", None),
        ("connection-write-timeout", None),
        ("connection-limit-reached", None),
        ("TLS-protocol-error", None),
        ("TLS-certificate-error", None),
        ("TLS-alert-received", _TLS_ALERT),
        ("HTTP-request-denied", None),
        ("HTTP-request-length-required", None),
        ("HTTP-request-body-size", _U64),
        ("HTTP-request-method-invalid", None),
        ("HTTP-request-URI-invalid", None),
        ("HTTP-request-URI-too-long", None),
        ("HTTP-request-header-section-size", _U32),
        ("HTTP-request-header-size", Option(_FIELD_SIZE)),
        ("HTTP-request-trailer-section-size", _U32),
        ("HTTP-request-trailer-size", _FIELD_SIZE),
        ("HTTP-response-incomplete", None),
        ("HTTP-response-header-section-size", _U32),
        ("HTTP-response-header-size", _FIELD_SIZE),
        ("HTTP-response-body-size", _U64),
        ("HTTP-response-trailer-section-size", _U32),
        ("HTTP-response-trailer-size", _FIELD_SIZE),
        ("HTTP-response-transfer-coding", Option(_STRING)),
        ("HTTP-response-content-coding", Option(_STRING)),
        ("HTTP-response-timeout", None),
        ("HTTP-upgrade-failed", None),
        ("HTTP-protocol-error", None),
        ("loop-detected", None),
        ("configuration-error", None),
        ("internal-error", Option(_STRING)),
    )
)
"""`wasi:http/types.error-code`, case for case."""

HANDLE_TYPE = FuncType((("request", _REQUEST),), Result(_RESPONSE, ERROR_CODE))
"""How `handle` is typed on the lattice. In Python the request is an `HttpRequest`, the answer an `HttpResponse`."""
