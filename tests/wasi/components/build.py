"""Compiles the components of these tests: `python -m tests.wasi.components.build` (needs the `guests` extra)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tools.cc import compile_component
from tools.interfaces import RESOURCE, WASI, Interface, by_name

__all__ = ["SOURCES", "compile_source", "main"]

HERE = Path(__file__).parent
HEADERS = HERE.parent.parent.parent / "examples" / "http-hello-c"

_SOCKET_ERRORS = (
    *("unknown", "access-denied", "not-supported", "invalid-argument", "out-of-memory", "timeout"),
    *("concurrency-conflict", "not-in-progress", "would-block", "invalid-state", "new-socket-limit"),
    *("address-not-bindable", "address-in-use", "remote-unreachable", "connection-refused", "connection-reset"),
    *("connection-aborted", "datagram-too-large", "name-unresolvable", "temporary-resolver-failure"),
    "permanent-resolver-failure",
)
_NETWORK = Interface(
    "wasi:sockets/network@0.2.2",
    {},
    types={
        "error-code": "(enum " + " ".join(f'"{name}"' for name in _SOCKET_ERRORS) + ")",
        "ip-address-family": '(enum "ipv4" "ipv6")',
    },
)
_TCP = Interface("wasi:sockets/tcp@0.2.2", {}, types={"tcp-socket": RESOURCE})
_TCP_CREATE = Interface(
    "wasi:sockets/tcp-create-socket@0.2.2",
    {
        "create-tcp-socket": '(param "address-family" $ip-address-family)'
        "(result (result (own $tcp-socket) (error $error-code)))"
    },
    uses={
        "error-code": (_NETWORK.name, "error-code"),
        "ip-address-family": (_NETWORK.name, "ip-address-family"),
        "tcp-socket": (_TCP.name, "tcp-socket"),
    },
)
_FILES = Interface("wasi:filesystem/types@0.2.2", {}, types={"descriptor": RESOURCE})
_PREOPENS = Interface(
    "wasi:filesystem/preopens@0.2.2",
    {"get-directories": "(result (list (tuple (own $descriptor) string)))"},
    uses={"descriptor": (_FILES.name, "descriptor")},
)
_EXIT = Interface("wasi:cli/exit@0.2.2", {"exit": '(param "status" (result))'})
_KNOWN_HTTP = WASI["wasi:http/types@0.2.2"]
_HTTP = replace(
    _KNOWN_HTTP,
    functions={
        **_KNOWN_HTTP.functions,
        "[method]outgoing-request.set-method": '(param "self" (borrow $outgoing-request))'
        '(param "method" $method) (result (result))',
        "[method]outgoing-request.body": '(param "self" (borrow $outgoing-request))'
        "(result (result (own $outgoing-body)))",
    },
)


SOURCES = tuple(sorted(HERE.glob("*.c")))


def compile_source(source: Path) -> bytes:
    """The component of one of SOURCES."""
    return compile_component(source, [HEADERS], by_name(_NETWORK, _TCP, _TCP_CREATE, _FILES, _PREOPENS, _EXIT, _HTTP))


def main() -> None:
    """Compile every C file here to the .wasm beside it."""
    for source in SOURCES:
        component = compile_source(source)
        target = source.with_suffix(".wasm")
        target.write_bytes(component)
        print(f"{target}: {len(component)} bytes")


if __name__ == "__main__":
    main()
