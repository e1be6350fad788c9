"""`wasi:http/types` and `wasi:http/outgoing-handler`, put together."""

from __future__ import annotations

from trellis_host.engine.api import HostFunction, HostInterface, HostResource
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.http.bodies import BODY_FUNCTIONS, FUTURE_TRAILERS, INCOMING_BODY, OUTGOING_BODY
from trellis_host.wasi.http.exchange import OUTPARAM_FUNCTIONS, RESPONSE_OUTPARAM
from trellis_host.wasi.http.fields import FIELDS, FIELDS_FUNCTIONS
from trellis_host.wasi.http.messages import (
    INCOMING_REQUEST,
    INCOMING_RESPONSE,
    MESSAGE_FUNCTIONS,
    OUTGOING_REQUEST,
    OUTGOING_RESPONSE,
    REQUEST_OPTIONS,
)
from trellis_host.wasi.http.outgoing import FUTURE_FUNCTIONS, FUTURE_RESPONSE, HANDLER_FUNCTIONS
from trellis_host.wasi.io import ERROR, INPUT_STREAM, OUTPUT_STREAM, POLLABLE
from trellis_host.wasi.streams import IoError
from trellis_host.wasi.version import named
from trellis_lattice.wit.values import Case

__all__ = ["HTTP"]


def _http_error_code(context: WasiContext, error: IoError) -> Case | None:
    return error.code


_RESOURCES: dict[str, HostResource] = {
    "fields": FIELDS,
    "headers": FIELDS,
    "trailers": FIELDS,
    "incoming-request": INCOMING_REQUEST,
    "incoming-response": INCOMING_RESPONSE,
    "incoming-body": INCOMING_BODY,
    "future-trailers": FUTURE_TRAILERS,
    "outgoing-request": OUTGOING_REQUEST,
    "outgoing-response": OUTGOING_RESPONSE,
    "outgoing-body": OUTGOING_BODY,
    "request-options": REQUEST_OPTIONS,
    "response-outparam": RESPONSE_OUTPARAM,
    "future-incoming-response": FUTURE_RESPONSE,
    "input-stream": INPUT_STREAM,
    "output-stream": OUTPUT_STREAM,
    "pollable": POLLABLE,
    "io-error": ERROR,
}

_HANDLER_RESOURCES: dict[str, HostResource] = {
    name: _RESOURCES[name] for name in ("outgoing-request", "request-options", "future-incoming-response")
}

HTTP: tuple[HostInterface, ...] = (
    HostInterface(
        named("http", "types"),
        {
            **FIELDS_FUNCTIONS,
            **MESSAGE_FUNCTIONS,
            **BODY_FUNCTIONS,
            **OUTPARAM_FUNCTIONS,
            **FUTURE_FUNCTIONS,
            "http-error-code": HostFunction(_http_error_code),
        },
        _RESOURCES,
    ),
    HostInterface(named("http", "outgoing-handler"), HANDLER_FUNCTIONS, _HANDLER_RESOURCES),
)
