"""How the values of one function go onto the wire: the compiled CBOR forms, and HTTP exchanges as records.

`wasi:http` handlers take an `HttpRequest` and answer an `HttpResponse` (or `Err(Case)`) in Python; on the wire
both are the records of `HANDLE_TYPE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from trellis_lattice.errors import PeerMisbehaved, RequestInvalid
from trellis_lattice.http import HANDLE_TYPE, HttpRequest, HttpResponse
from trellis_lattice.wit.cbor import Crossing, FuncCodec
from trellis_lattice.wit.types import FuncType
from trellis_lattice.wit.values import Err, Ok

__all__ = ["CallCodec", "codec_of"]

_CACHE_SIZE = 4096


class CallCodec:
    """As `FuncCodec`, with the Python forms that callers and services use."""

    __slots__ = ("_forms", "_http", "data_only")

    def __init__(self, type: FuncType) -> None:
        self._forms = FuncCodec(type)
        self.data_only = self._forms.data_only
        self._http = type == HANDLE_TYPE

    def encode_args(self, args: Sequence[Any], crossing: Crossing, where: str) -> bytes:
        """Raises `RequestInvalid`."""
        return self._forms.encode_args(_request_records(args, where) if self._http else args, crossing, where=where)

    def decode_args(self, data: bytes, crossing: Crossing, where: str) -> list[Any]:
        """Raises `RequestInvalid`."""
        args = self._forms.decode_args(data, crossing, where=where)
        return [_request(record) for record in args] if self._http else args

    def encode_result(self, value: Any, crossing: Crossing, where: str) -> bytes:
        """Raises `PeerMisbehaved`, or `RequestInvalid` for its size."""
        return self._forms.encode_result(_response_record(value, where) if self._http else value, crossing, where=where)

    def decode_result(self, data: bytes, crossing: Crossing, where: str) -> Any:
        """Raises `PeerMisbehaved`, or `RequestInvalid` for its size."""
        value = self._forms.decode_result(data, crossing, where=where)
        return _response(value) if self._http else value


def _request_records(args: Sequence[Any], where: str) -> list[Any]:
    records = []
    for request in args:
        if not isinstance(request, HttpRequest):
            raise RequestInvalid(f"{where}Argument `request`: expected an HttpRequest, found {type(request).__name__}.")
        records.append(
            {
                "method": request.method,
                "path-with-query": request.path_with_query,
                "scheme": request.scheme,
                "authority": request.authority,
                "headers": request.headers,
                "body": request.body,
            }
        )
    return records


def _request(record: dict[str, Any]) -> HttpRequest:
    return HttpRequest(
        method=record["method"],
        path_with_query=record["path-with-query"],
        scheme=record["scheme"],
        authority=record["authority"],
        headers=record["headers"],
        body=record["body"],
    )


def _response_record(value: Any, where: str) -> Any:
    response = value.value if isinstance(value, Ok) else value
    if isinstance(response, HttpResponse):
        return Ok({"status": response.status, "headers": response.headers, "body": response.body})
    if isinstance(value, Err):
        return value
    raise PeerMisbehaved(f"{where}The result: expected an HttpResponse or Err, found {type(value).__name__}.")


def _response(value: Any) -> Any:
    if isinstance(value, Ok):
        record = value.value
        return HttpResponse(status=record["status"], headers=record["headers"], body=record["body"])
    return value


class _Kept(NamedTuple):
    type: FuncType
    codec: CallCodec


_by_identity: dict[int, _Kept] = {}
_by_value: dict[FuncType, CallCodec] = {}


def codec_of(type: FuncType) -> CallCodec:
    """The codec of a function type, compiled at its first use. Bounded memory; cheap for the same object."""
    kept = _by_identity.get(id(type))
    if kept is not None and kept.type is type:
        return kept.codec
    if len(_by_identity) >= _CACHE_SIZE:
        _by_identity.clear()
        _by_value.clear()
    codec = _by_value.get(type)
    if codec is None:
        codec = _by_value[type] = CallCodec(type)
    _by_identity[id(type)] = _Kept(type, codec)
    return codec
