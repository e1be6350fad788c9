"""`wasi:http` fields: headers and trailers, one resource.

The laws of this file: names are kept in lower case, in order; what a component puts in is valid HTTP
(RFC 9110 section 5) and none of the names that belong to the connection; what came from outside cannot be
changed; the size is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from trellis_host.engine.api import HostFunction, HostResource
from trellis_host.wasi.context import WasiContext, trap
from trellis_host.wasi.results import OK
from trellis_lattice.streams import Fields
from trellis_lattice.wit.values import Case, Err, Ok

__all__ = ["FIELDS", "FIELDS_FUNCTIONS", "FORBIDDEN", "MAX_FIELDS_BYTES", "HttpFields", "allowed"]

FIELDS = HostResource("fields")

FORBIDDEN = frozenset(
    (
        "connection",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    )
)
"""Names that belong to the connection, which is the host's."""
MAX_FIELDS_BYTES = 128 * 1024
"""Bytes of all names and values of one `fields`."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch

_INVALID: Err[Any] = Err(Case("invalid-syntax"))
_FORBIDDEN: Err[Any] = Err(Case("forbidden"))
_IMMUTABLE: Err[Any] = Err(Case("immutable"))


class HttpFields:
    """`entries` in order; `immutable` once they belong to a request or a response."""

    __slots__ = ("entries", "immutable", "size")

    def __init__(self, entries: Fields, immutable: bool = False) -> None:
        self.entries = entries
        self.immutable = immutable
        self.size = 0

    def get(self, name: str) -> list[bytes]:
        name = name.lower()
        return [value for each, value in self.entries if each == name]


def allowed(entries: Iterable[tuple[str, bytes]]) -> Fields:
    """What a component may see of headers that came from outside."""
    return [entry for entry in entries if entry[0] not in FORBIDDEN]


def _refusal(name: str, values: Iterable[bytes]) -> Err[Any] | None:
    if not _NAME(name):
        return _INVALID
    if name in FORBIDDEN:
        return _FORBIDDEN
    for value in values:
        if not _VALUE(value):
            return _INVALID
    return None


def _account(context: WasiContext, fields: HttpFields, name: str, value: bytes) -> None:
    fields.size += len(name) + len(value) + 32
    if fields.size > MAX_FIELDS_BYTES:
        raise trap(context, f"headers or trailers grew beyond {MAX_FIELDS_BYTES} bytes")


def _new(context: WasiContext) -> HttpFields:
    return HttpFields([])


def _from_list(context: WasiContext, entries: Sequence[tuple[str, bytes]]) -> Ok[HttpFields] | Err[Any]:
    fields = HttpFields([])
    for raw, value in entries:
        name = raw.lower()
        refusal = _refusal(name, (value,))
        if refusal is not None:
            return refusal
        _account(context, fields, name, value)
        fields.entries.append((name, value))
    return Ok(fields)


def _get(context: WasiContext, fields: HttpFields, name: str) -> list[bytes]:
    return fields.get(name)


def _has(context: WasiContext, fields: HttpFields, name: str) -> bool:
    name = name.lower()
    return any(each == name for each, _ in fields.entries)


def _set(context: WasiContext, fields: HttpFields, name: str, values: Sequence[bytes]) -> Ok[Any] | Err[Any]:
    if fields.immutable:
        return _IMMUTABLE
    name = name.lower()
    refusal = _refusal(name, values)
    if refusal is not None:
        return refusal
    for value in values:
        _account(context, fields, name, value)
    fields.entries = [entry for entry in fields.entries if entry[0] != name]
    fields.entries.extend((name, value) for value in values)
    return OK


def _delete(context: WasiContext, fields: HttpFields, name: str) -> Ok[Any] | Err[Any]:
    if fields.immutable:
        return _IMMUTABLE
    name = name.lower()
    refusal = _refusal(name, ())
    if refusal is not None:
        return refusal
    fields.entries = [entry for entry in fields.entries if entry[0] != name]
    fields.size = sum(len(each) + len(value) + 32 for each, value in fields.entries)
    return OK


def _append(context: WasiContext, fields: HttpFields, name: str, value: bytes) -> Ok[Any] | Err[Any]:
    if fields.immutable:
        return _IMMUTABLE
    name = name.lower()
    if not _NAME(name) or not _VALUE(value):
        return _INVALID
    if name in FORBIDDEN:
        return _FORBIDDEN
    _account(context, fields, name, value)
    fields.entries.append((name, value))
    return OK


def _entries(context: WasiContext, fields: HttpFields) -> Fields:
    return fields.entries


def _clone(context: WasiContext, fields: HttpFields) -> HttpFields:
    copy = HttpFields(list(fields.entries))
    copy.size = sum(len(name) + len(value) + 32 for name, value in copy.entries)
    return copy


FIELDS_FUNCTIONS: dict[str, HostFunction] = {
    "[constructor]fields": HostFunction(_new),
    "[static]fields.from-list": HostFunction(_from_list),
    "[method]fields.get": HostFunction(_get),
    "[method]fields.has": HostFunction(_has),
    "[method]fields.set": HostFunction(_set),
    "[method]fields.delete": HostFunction(_delete),
    "[method]fields.append": HostFunction(_append),
    "[method]fields.entries": HostFunction(_entries),
    "[method]fields.clone": HostFunction(_clone),
}
