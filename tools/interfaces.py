"""Interfaces that hand-built components import and export, in the text form of the component model.

The law of this file: a type or function here is equal to the one of its WIT package, part for part. Only what
somebody uses is listed; a component's import names only the functions that its code imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["RESOURCE", "WASI", "Interface", "by_name"]

RESOURCE = "(sub resource)"
"""The definition of a resource type in `Interface.types`."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface. In definitions and signatures `$x` is the type `x` of this interface.

    name       full name with version; "" for functions at the component's root
    functions  WIT name → parameters and result, in text form
    types      name → definition in text form, `RESOURCE`, or `$other` for another name of the same type; in order
    uses       local name → (interface, name) for types that belong to another interface
    """

    name: str
    functions: Mapping[str, str]
    types: Mapping[str, str] = field(default_factory=dict)
    uses: Mapping[str, tuple[str, str]] = field(default_factory=dict)


_IO, _CLOCKS, _HTTP, _CLI = "0.2.2", "0.2.2", "0.2.2", "0.2.2"
_POLL = f"wasi:io/poll@{_IO}"
_IO_ERROR = f"wasi:io/error@{_IO}"
_STREAMS = f"wasi:io/streams@{_IO}"
_HTTP_TYPES = f"wasi:http/types@{_HTTP}"
_KEYVALUE = "wasi:keyvalue/store@0.2.0-draft"
_BYTES = "(list u8)"
_SELF = '(param "self" (borrow ${}))'

_io = [
    Interface(
        _POLL,
        {
            "[method]pollable.ready": _SELF.format("pollable") + "(result bool)",
            "[method]pollable.block": _SELF.format("pollable"),
            "poll": '(param "in" (list (borrow $pollable))) (result (list u32))',
        },
        types={"pollable": RESOURCE},
    ),
    Interface(
        _IO_ERROR,
        {"[method]error.to-debug-string": _SELF.format("error") + "(result string)"},
        types={"error": RESOURCE},
    ),
    Interface(
        _STREAMS,
        {
            **{
                f"[method]input-stream.{name}": _SELF.format("input-stream")
                + f'(param "len" u64) (result (result {_BYTES} (error $stream-error)))'
                for name in ("read", "blocking-read")
            },
            "[method]input-stream.subscribe": _SELF.format("input-stream") + "(result (own $pollable))",
            "[method]output-stream.check-write": _SELF.format("output-stream")
            + "(result (result u64 (error $stream-error)))",
            **{
                f"[method]output-stream.{name}": _SELF.format("output-stream")
                + f'(param "contents" {_BYTES}) (result (result (error $stream-error)))'
                for name in ("write", "blocking-write-and-flush")
            },
            **{
                f"[method]output-stream.{name}": _SELF.format("output-stream")
                + "(result (result (error $stream-error)))"
                for name in ("flush", "blocking-flush")
            },
            "[method]output-stream.subscribe": _SELF.format("output-stream") + "(result (own $pollable))",
            "[method]output-stream.blocking-splice": _SELF.format("output-stream")
            + '(param "src" (borrow $input-stream)) (param "len" u64) (result (result u64 (error $stream-error)))',
        },
        types={
            "input-stream": RESOURCE,
            "output-stream": RESOURCE,
            "stream-error": '(variant (case "last-operation-failed" (own $error)) (case "closed"))',
        },
        uses={"error": (_IO_ERROR, "error"), "pollable": (_POLL, "pollable")},
    ),
]

_clocks_cli_and_more = [
    Interface(
        f"wasi:clocks/monotonic-clock@{_CLOCKS}",
        {
            "now": "(result $instant)",
            "resolution": "(result $duration)",
            "subscribe-instant": '(param "when" $instant) (result (own $pollable))',
            "subscribe-duration": '(param "when" $duration) (result (own $pollable))',
        },
        types={"instant": "u64", "duration": "u64"},
        uses={"pollable": (_POLL, "pollable")},
    ),
    Interface(
        f"wasi:random/random@{_CLI}",
        {"get-random-u64": "(result u64)", "get-random-bytes": f'(param "len" u64) (result {_BYTES})'},
    ),
    Interface(
        f"wasi:cli/environment@{_CLI}",
        {
            "get-environment": "(result (list (tuple string string)))",
            "get-arguments": "(result (list string))",
        },
    ),
    *(
        Interface(
            f"wasi:cli/{stream}@{_CLI}",
            {f"get-{stream}": "(result (own $output-stream))"},
            uses={"output-stream": (_STREAMS, "output-stream")},
        )
        for stream in ("stdout", "stderr")
    ),
    Interface(
        "wasi:logging/logging@0.1.0-draft",
        {"log": '(param "level" $level) (param "context" string) (param "message" string)'},
        types={"level": '(enum "trace" "debug" "info" "warn" "error" "critical")'},
    ),
    Interface(
        "wasi:config/store@0.2.0-rc.1",
        {
            "get": '(param "key" string) (result (result (option string) (error $error)))',
            "get-all": "(result (result (list (tuple string string)) (error $error)))",
        },
        types={"error": '(variant (case "upstream" string) (case "io" string))'},
    ),
    Interface(
        _KEYVALUE,
        {
            "open": '(param "identifier" string) (result (result (own $bucket) (error $error)))',
            "[method]bucket.get": _SELF.format("bucket")
            + f'(param "key" string) (result (result (option {_BYTES}) (error $error)))',
            "[method]bucket.set": _SELF.format("bucket")
            + f'(param "key" string) (param "value" {_BYTES}) (result (result (error $error)))',
            "[method]bucket.delete": _SELF.format("bucket") + '(param "key" string) (result (result (error $error)))',
            "[method]bucket.exists": _SELF.format("bucket")
            + '(param "key" string) (result (result bool (error $error)))',
            "[method]bucket.list-keys": _SELF.format("bucket")
            + '(param "cursor" (option u64)) (result (result $key-response (error $error)))',
        },
        types={
            "bucket": RESOURCE,
            "error": '(variant (case "no-such-store") (case "access-denied") (case "other" string))',
            "key-response": '(record (field "keys" (list string)) (field "cursor" (option u64)))',
        },
    ),
    Interface(
        "wasi:keyvalue/atomics@0.2.0-draft",
        {
            "increment": '(param "bucket" (borrow $bucket)) (param "key" string) (param "delta" u64)'
            "(result (result u64 (error $error)))"
        },
        uses={"bucket": (_KEYVALUE, "bucket"), "error": (_KEYVALUE, "error")},
    ),
]

_ERROR_CODE = """(variant (case "DNS-timeout") (case "DNS-error" $DNS-error-payload)
  (case "destination-not-found") (case "destination-unavailable") (case "destination-IP-prohibited")
  (case "destination-IP-unroutable") (case "connection-refused") (case "connection-terminated")
  (case "connection-timeout") (case "connection-read-timeout") (case "connection-write-timeout")
  (case "connection-limit-reached") (case "TLS-protocol-error") (case "TLS-certificate-error")
  (case "TLS-alert-received" $TLS-alert-received-payload) (case "HTTP-request-denied")
  (case "HTTP-request-length-required") (case "HTTP-request-body-size" (option u64))
  (case "HTTP-request-method-invalid") (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
  (case "HTTP-request-header-section-size" (option u32))
  (case "HTTP-request-header-size" (option $field-size-payload))
  (case "HTTP-request-trailer-section-size" (option u32)) (case "HTTP-request-trailer-size" $field-size-payload)
  (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" (option u32))
  (case "HTTP-response-header-size" $field-size-payload) (case "HTTP-response-body-size" (option u64))
  (case "HTTP-response-trailer-section-size" (option u32)) (case "HTTP-response-trailer-size" $field-size-payload)
  (case "HTTP-response-transfer-coding" (option string)) (case "HTTP-response-content-coding" (option string))
  (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error")
  (case "loop-detected") (case "configuration-error") (case "internal-error" (option string)))"""

_NAMED_BYTES = f"(list (tuple string {_BYTES}))"
_BODY_RESULT = "(result (result (own ${})))"

_http = [
    Interface(
        _HTTP_TYPES,
        {
            "[constructor]fields": "(result (own $fields))",
            "[static]fields.from-list": f'(param "entries" {_NAMED_BYTES})'
            "(result (result (own $fields) (error $header-error)))",
            "[method]fields.append": _SELF.format("fields")
            + f'(param "name" string) (param "value" {_BYTES}) (result (result (error $header-error)))',
            "[method]fields.get": _SELF.format("fields") + f'(param "name" string) (result (list {_BYTES}))',
            "[method]fields.entries": _SELF.format("fields") + f"(result {_NAMED_BYTES})",
            "[method]incoming-request.method": _SELF.format("incoming-request") + "(result $method)",
            "[method]incoming-request.path-with-query": _SELF.format("incoming-request") + "(result (option string))",
            "[method]incoming-request.authority": _SELF.format("incoming-request") + "(result (option string))",
            "[method]incoming-request.headers": _SELF.format("incoming-request") + "(result (own $headers))",
            "[method]incoming-request.consume": _SELF.format("incoming-request") + _BODY_RESULT.format("incoming-body"),
            "[method]incoming-body.stream": _SELF.format("incoming-body") + _BODY_RESULT.format("input-stream"),
            "[static]incoming-body.finish": '(param "this" (own $incoming-body)) (result (own $future-trailers))',
            "[method]future-trailers.subscribe": _SELF.format("future-trailers") + "(result (own $pollable))",
            "[method]future-trailers.get": _SELF.format("future-trailers")
            + "(result (option (result (result (option (own $trailers)) (error $error-code)))))",
            "[constructor]outgoing-response": '(param "headers" (own $headers)) (result (own $outgoing-response))',
            "[method]outgoing-response.set-status-code": _SELF.format("outgoing-response")
            + '(param "status-code" $status-code) (result (result))',
            "[method]outgoing-response.body": _SELF.format("outgoing-response") + _BODY_RESULT.format("outgoing-body"),
            "[method]outgoing-body.write": _SELF.format("outgoing-body") + _BODY_RESULT.format("output-stream"),
            "[static]outgoing-body.finish": '(param "this" (own $outgoing-body))'
            '(param "trailers" (option (own $trailers))) (result (result (error $error-code)))',
            "[static]response-outparam.set": '(param "param" (own $response-outparam))'
            '(param "response" (result (own $outgoing-response) (error $error-code)))',
            "[constructor]outgoing-request": '(param "headers" (own $headers)) (result (own $outgoing-request))',
            "[method]outgoing-request.set-path-with-query": _SELF.format("outgoing-request")
            + '(param "path-with-query" (option string)) (result (result))',
            "[method]outgoing-request.set-authority": _SELF.format("outgoing-request")
            + '(param "authority" (option string)) (result (result))',
            "[method]outgoing-request.set-scheme": _SELF.format("outgoing-request")
            + '(param "scheme" (option $scheme)) (result (result))',
            "[method]future-incoming-response.subscribe": _SELF.format("future-incoming-response")
            + "(result (own $pollable))",
            "[method]future-incoming-response.get": _SELF.format("future-incoming-response")
            + "(result (option (result (result (own $incoming-response) (error $error-code)))))",
            "[method]incoming-response.status": _SELF.format("incoming-response") + "(result $status-code)",
            "[method]incoming-response.consume": _SELF.format("incoming-response")
            + _BODY_RESULT.format("incoming-body"),
        },
        types={
            "method": "(variant "
            + " ".join(
                f'(case "{name}")'
                for name in ("get", "head", "post", "put", "delete", "connect", "options", "trace", "patch")
            )
            + ' (case "other" string))',
            "scheme": '(variant (case "HTTP") (case "HTTPS") (case "other" string))',
            "DNS-error-payload": '(record (field "rcode" (option string)) (field "info-code" (option u16)))',
            "TLS-alert-received-payload": '(record (field "alert-id" (option u8))'
            '(field "alert-message" (option string)))',
            "field-size-payload": '(record (field "field-name" (option string)) (field "field-size" (option u32)))',
            "error-code": _ERROR_CODE,
            "header-error": '(variant (case "invalid-syntax") (case "forbidden") (case "immutable"))',
            "fields": RESOURCE,
            "headers": "$fields",
            "trailers": "$fields",
            "status-code": "u16",
            "incoming-request": RESOURCE,
            "incoming-body": RESOURCE,
            "future-trailers": RESOURCE,
            "outgoing-response": RESOURCE,
            "outgoing-body": RESOURCE,
            "response-outparam": RESOURCE,
            "outgoing-request": RESOURCE,
            "request-options": RESOURCE,
            "incoming-response": RESOURCE,
            "future-incoming-response": RESOURCE,
        },
        uses={
            "input-stream": (_STREAMS, "input-stream"),
            "output-stream": (_STREAMS, "output-stream"),
            "pollable": (_POLL, "pollable"),
        },
    ),
    Interface(
        f"wasi:http/incoming-handler@{_HTTP}",
        {"handle": '(param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))'},
        uses={
            "incoming-request": (_HTTP_TYPES, "incoming-request"),
            "response-outparam": (_HTTP_TYPES, "response-outparam"),
        },
    ),
    Interface(
        f"wasi:http/outgoing-handler@{_HTTP}",
        {
            "handle": '(param "request" (own $outgoing-request)) (param "options" (option (own $request-options)))'
            "(result (result (own $future-incoming-response) (error $error-code)))"
        },
        uses={
            name: (_HTTP_TYPES, name)
            for name in ("outgoing-request", "request-options", "future-incoming-response", "error-code")
        },
    ),
]


def by_name(*groups: Interface) -> dict[str, Interface]:
    """The interfaces keyed by full name."""
    return {interface.name: interface for interface in groups}


WASI = by_name(*_io, *_clocks_cli_and_more, *_http)
"""Every WASI interface known here, by full name."""
