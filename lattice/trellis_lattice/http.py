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
ERROR_CODE = Variant(
    (("HTTP-request-denied", None), ("configuration-error", None), ("internal-error", Option(_STRING)))
)

HANDLE_TYPE = FuncType((("request", _REQUEST),), Result(_RESPONSE, ERROR_CODE))
"""How `handle` is typed on the lattice. In Python the request is an `HttpRequest`, the answer an `HttpResponse`."""
