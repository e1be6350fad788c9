"""`wasi:http` messages: incoming-request, outgoing-response, outgoing-request, incoming-response, request-options."""

from __future__ import annotations

import re
from typing import Any

from trellis_host.engine.api import HostFunction, HostResource
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.http.bodies import IncomingBody, OutgoingBody, content_length
from trellis_host.wasi.http.fields import HttpFields, allowed
from trellis_host.wasi.http.grants import split_authority
from trellis_host.wasi.results import FAILED, OK
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.streams import Pipe
from trellis_lattice.wit.values import Case, Err, Ok

__all__ = [
    "INCOMING_REQUEST",
    "INCOMING_RESPONSE",
    "MESSAGE_FUNCTIONS",
    "OUTGOING_REQUEST",
    "OUTGOING_RESPONSE",
    "REQUEST_OPTIONS",
    "IncomingRequest",
    "IncomingResponse",
    "OutgoingRequest",
    "OutgoingResponse",
    "RequestOptions",
]

_METHODS = {
    name.upper(): Case(name)
    for name in ("get", "head", "post", "put", "delete", "connect", "options", "trace", "patch")
}
_SCHEMES = {"http": Case("HTTP"), "https": Case("HTTPS")}
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}").fullmatch
_PATH = re.compile(r"[^\x00-\x20\x7f#]*").fullmatch
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,31}").fullmatch
_NO_CONTENT_STATUS = 304


def _method_case(method: str) -> Case:
    return _METHODS.get(method) or Case("other", method)


def _scheme_case(scheme: str | None) -> Case | None:
    return None if scheme is None else _SCHEMES.get(scheme.lower()) or Case("other", scheme)


class IncomingRequest:
    """A request to the component."""

    __slots__ = ("_consumed", "request")

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self._consumed = False

    def consume(self) -> IncomingBody | None:
        if self._consumed:
            return None
        self._consumed = True
        return IncomingBody(self.request.body)


class IncomingResponse:
    """The answer to a request that the component made."""

    __slots__ = ("_consumed", "response")

    def __init__(self, response: HttpResponse) -> None:
        self.response = response
        self._consumed = False

    def consume(self) -> IncomingBody | None:
        if self._consumed:
            return None
        self._consumed = True
        return IncomingBody(self.response.body)


class OutgoingResponse:
    """A response that the component makes. `body` exists once it was asked for."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, headers: HttpFields) -> None:
        headers.immutable = True
        self.headers = headers
        self.status = 200
        self.body: OutgoingBody | None = None


class OutgoingRequest:
    """A request that the component makes; `scheme` in lower case."""

    __slots__ = ("authority", "body", "headers", "method", "path", "scheme")

    def __init__(self, headers: HttpFields) -> None:
        headers.immutable = True
        self.headers = headers
        self.method = "GET"
        self.path: str | None = None
        self.scheme: str | None = None
        self.authority: str | None = None
        self.body: OutgoingBody | None = None


class RequestOptions:
    """Timeouts in nanoseconds, None where the host decides."""

    __slots__ = ("between_bytes", "connect", "first_byte")

    def __init__(self) -> None:
        self.connect: int | None = None
        self.first_byte: int | None = None
        self.between_bytes: int | None = None


INCOMING_REQUEST = HostResource("incoming-request")
INCOMING_RESPONSE = HostResource("incoming-response")
OUTGOING_REQUEST = HostResource("outgoing-request")
OUTGOING_RESPONSE = HostResource("outgoing-response")
REQUEST_OPTIONS = HostResource("request-options")


def _consume(context: WasiContext, message: IncomingRequest | IncomingResponse) -> Ok[IncomingBody] | Err[Any]:
    body = message.consume()
    return FAILED if body is None else Ok(body)


def _incoming_headers(context: WasiContext, message: IncomingRequest) -> HttpFields:
    return HttpFields(allowed(message.request.headers), immutable=True)


def _response_headers(context: WasiContext, message: IncomingResponse) -> HttpFields:
    return HttpFields(allowed(message.response.headers), immutable=True)


def _outgoing_headers(context: WasiContext, message: OutgoingRequest | OutgoingResponse) -> HttpFields:
    return message.headers


def _new_response(context: WasiContext, headers: HttpFields) -> OutgoingResponse:
    return OutgoingResponse(headers)


def _set_status(context: WasiContext, response: OutgoingResponse, status: int) -> Ok[Any] | Err[Any]:
    if not 200 <= status <= 599:
        return FAILED
    response.status = status
    return OK


def _response_body(context: WasiContext, response: OutgoingResponse) -> Ok[OutgoingBody] | Err[Any]:
    if response.body is not None:
        return FAILED
    exchange = context.exchange
    bodiless = response.status == _NO_CONTENT_STATUS or (exchange is not None and exchange.method == "HEAD")
    pipe = Pipe() if exchange is None else exchange.new_pipe()
    body = OutgoingBody(pipe, content_length(response.headers.entries), "HTTP-response-body-size", bodiless)
    response.body = body
    return Ok(body)


def _new_request(context: WasiContext, headers: HttpFields) -> OutgoingRequest:
    return OutgoingRequest(headers)


def _request_body(context: WasiContext, request: OutgoingRequest) -> Ok[OutgoingBody] | Err[Any]:
    if request.body is not None:
        return FAILED
    request.body = OutgoingBody(Pipe(), content_length(request.headers.entries), "HTTP-request-body-size")
    return Ok(request.body)


def _set_method(context: WasiContext, request: OutgoingRequest, method: Case) -> Ok[Any] | Err[Any]:
    if method.name != "other":
        request.method = method.name.upper()
        return OK
    if not _TOKEN(method.value):
        return FAILED
    request.method = method.value
    return OK


def _set_path(context: WasiContext, request: OutgoingRequest, path: str | None) -> Ok[Any] | Err[Any]:
    if path is not None and not _PATH(path):
        return FAILED
    request.path = path
    return OK


def _set_scheme(context: WasiContext, request: OutgoingRequest, scheme: Case | None) -> Ok[Any] | Err[Any]:
    if scheme is None:
        request.scheme = None
    elif scheme.name != "other":
        request.scheme = scheme.name.lower()
    elif _SCHEME(scheme.value):
        request.scheme = scheme.value.lower()
    else:
        return FAILED
    return OK


def _set_authority(context: WasiContext, request: OutgoingRequest, authority: str | None) -> Ok[Any] | Err[Any]:
    if authority is not None and split_authority(authority, "http") is None:
        return FAILED
    request.authority = authority
    return OK


def _new_options(context: WasiContext) -> RequestOptions:
    return RequestOptions()


def _set_connect(context: WasiContext, options: RequestOptions, duration: int | None) -> Ok[Any]:
    options.connect = duration
    return OK


def _set_first_byte(context: WasiContext, options: RequestOptions, duration: int | None) -> Ok[Any]:
    options.first_byte = duration
    return OK


def _set_between_bytes(context: WasiContext, options: RequestOptions, duration: int | None) -> Ok[Any]:
    options.between_bytes = duration
    return OK


MESSAGE_FUNCTIONS: dict[str, HostFunction] = {
    "[method]incoming-request.method": HostFunction(lambda _, message: _method_case(message.request.method)),
    "[method]incoming-request.path-with-query": HostFunction(lambda _, message: message.request.path_with_query),
    "[method]incoming-request.scheme": HostFunction(lambda _, message: _scheme_case(message.request.scheme)),
    "[method]incoming-request.authority": HostFunction(lambda _, message: message.request.authority),
    "[method]incoming-request.headers": HostFunction(_incoming_headers),
    "[method]incoming-request.consume": HostFunction(_consume),
    "[constructor]outgoing-response": HostFunction(_new_response),
    "[method]outgoing-response.status-code": HostFunction(lambda _, response: response.status),
    "[method]outgoing-response.set-status-code": HostFunction(_set_status),
    "[method]outgoing-response.headers": HostFunction(_outgoing_headers),
    "[method]outgoing-response.body": HostFunction(_response_body),
    "[constructor]outgoing-request": HostFunction(_new_request),
    "[method]outgoing-request.body": HostFunction(_request_body),
    "[method]outgoing-request.method": HostFunction(lambda _, request: _method_case(request.method)),
    "[method]outgoing-request.set-method": HostFunction(_set_method),
    "[method]outgoing-request.path-with-query": HostFunction(lambda _, request: request.path),
    "[method]outgoing-request.set-path-with-query": HostFunction(_set_path),
    "[method]outgoing-request.scheme": HostFunction(lambda _, request: _scheme_case(request.scheme)),
    "[method]outgoing-request.set-scheme": HostFunction(_set_scheme),
    "[method]outgoing-request.authority": HostFunction(lambda _, request: request.authority),
    "[method]outgoing-request.set-authority": HostFunction(_set_authority),
    "[method]outgoing-request.headers": HostFunction(_outgoing_headers),
    "[constructor]request-options": HostFunction(_new_options),
    "[method]request-options.connect-timeout": HostFunction(lambda _, options: options.connect),
    "[method]request-options.set-connect-timeout": HostFunction(_set_connect),
    "[method]request-options.first-byte-timeout": HostFunction(lambda _, options: options.first_byte),
    "[method]request-options.set-first-byte-timeout": HostFunction(_set_first_byte),
    "[method]request-options.between-bytes-timeout": HostFunction(lambda _, options: options.between_bytes),
    "[method]request-options.set-between-bytes-timeout": HostFunction(_set_between_bytes),
    "[method]incoming-response.status": HostFunction(lambda _, message: message.response.status),
    "[method]incoming-response.headers": HostFunction(_response_headers),
    "[method]incoming-response.consume": HostFunction(_consume),
}
