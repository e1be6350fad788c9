"""`wasi:sockets`: present, so that components which only might use sockets run; every use is denied.

No socket can be made and no name resolved, so no method of a socket can be called; all are declared because a
component may import any of them. The network handle exists and grants nothing.
"""

from __future__ import annotations

from typing import Any

from trellis_host.engine.api import HostFunction, HostInterface, HostResource
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.io import ERROR, INPUT_STREAM, OUTPUT_STREAM, POLLABLE
from trellis_host.wasi.pollables import ALWAYS, Pollable
from trellis_host.wasi.version import named
from trellis_lattice.wit.values import Err

__all__ = ["SOCKETS"]

_NETWORK = HostResource("network")
_TCP = HostResource("tcp-socket")
_UDP = HostResource("udp-socket")
_INCOMING = HostResource("incoming-datagram-stream")
_OUTGOING = HostResource("outgoing-datagram-stream")
_ADDRESSES = HostResource("resolve-address-stream")
_DENIED: Err[Any] = Err("access-denied")

_TCP_METHODS = (
    "accept",
    "finish-bind",
    "finish-connect",
    "finish-listen",
    "hop-limit",
    "keep-alive-count",
    "keep-alive-enabled",
    "keep-alive-idle-time",
    "keep-alive-interval",
    "local-address",
    "receive-buffer-size",
    "remote-address",
    "send-buffer-size",
    "set-hop-limit",
    "set-keep-alive-count",
    "set-keep-alive-enabled",
    "set-keep-alive-idle-time",
    "set-keep-alive-interval",
    "set-listen-backlog-size",
    "set-receive-buffer-size",
    "set-send-buffer-size",
    "shutdown",
    "start-bind",
    "start-connect",
    "start-listen",
)
_UDP_METHODS = (
    "finish-bind",
    "local-address",
    "receive-buffer-size",
    "remote-address",
    "send-buffer-size",
    "set-receive-buffer-size",
    "set-send-buffer-size",
    "set-unicast-hop-limit",
    "start-bind",
    "stream",
    "unicast-hop-limit",
)


class _Network:
    """Opens nothing."""

    __slots__ = ()


_THE_NETWORK = _Network()


def _denied(context: WasiContext, *arguments: Any) -> Err[Any]:
    return _DENIED


def _network(context: WasiContext) -> _Network:
    return _THE_NETWORK


def _network_error_code(context: WasiContext, error: object) -> None:
    """No stream here belongs to a socket."""
    return None


def _subscribe(context: WasiContext, socket: object) -> Pollable:
    return ALWAYS


def _family(context: WasiContext, socket: object) -> str:
    return "ipv4"


def _not_listening(context: WasiContext, socket: object) -> bool:
    return False


def _all_denied(resource: str, methods: tuple[str, ...]) -> dict[str, HostFunction]:
    functions = {f"[method]{resource}.{name}": HostFunction(_denied) for name in methods}
    functions[f"[method]{resource}.subscribe"] = HostFunction(_subscribe)
    return functions


SOCKETS: tuple[HostInterface, ...] = (
    HostInterface(
        named("sockets", "network"),
        {"network-error-code": HostFunction(_network_error_code)},
        {"network": _NETWORK, "error": ERROR},
    ),
    HostInterface(
        named("sockets", "instance-network"), {"instance-network": HostFunction(_network)}, {"network": _NETWORK}
    ),
    HostInterface(
        named("sockets", "ip-name-lookup"),
        {
            "resolve-addresses": HostFunction(_denied),
            **_all_denied("resolve-address-stream", ("resolve-next-address",)),
        },
        {"network": _NETWORK, "pollable": POLLABLE, "resolve-address-stream": _ADDRESSES},
    ),
    HostInterface(
        named("sockets", "tcp"),
        {
            **_all_denied("tcp-socket", _TCP_METHODS),
            "[method]tcp-socket.address-family": HostFunction(_family),
            "[method]tcp-socket.is-listening": HostFunction(_not_listening),
        },
        {
            "tcp-socket": _TCP,
            "network": _NETWORK,
            "pollable": POLLABLE,
            "input-stream": INPUT_STREAM,
            "output-stream": OUTPUT_STREAM,
        },
    ),
    HostInterface(
        named("sockets", "tcp-create-socket"),
        {"create-tcp-socket": HostFunction(_denied)},
        {"tcp-socket": _TCP, "network": _NETWORK},
    ),
    HostInterface(
        named("sockets", "udp"),
        {
            **_all_denied("udp-socket", _UDP_METHODS),
            "[method]udp-socket.address-family": HostFunction(_family),
            **_all_denied("incoming-datagram-stream", ("receive",)),
            **_all_denied("outgoing-datagram-stream", ("check-send", "send")),
        },
        {
            "udp-socket": _UDP,
            "incoming-datagram-stream": _INCOMING,
            "outgoing-datagram-stream": _OUTGOING,
            "network": _NETWORK,
            "pollable": POLLABLE,
        },
    ),
    HostInterface(
        named("sockets", "udp-create-socket"),
        {"create-udp-socket": HostFunction(_denied)},
        {"udp-socket": _UDP, "network": _NETWORK},
    ),
)
