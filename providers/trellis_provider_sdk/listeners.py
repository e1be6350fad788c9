"""Listening sockets for providers: opened by whoever runs the host, or bound here.

The laws of this file: a port in use is an error that names the address (SO_REUSEPORT is never set, so that no
other program can take the port unseen); who opened a socket releases it.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Protocol

from trellis_lattice.errors import ConfigError, Conflict, Denied

__all__ = ["BoundListeners", "Listeners", "split_address"]


class Listeners(Protocol):
    """Hands out listening sockets."""

    async def open(self, host: str, port: int) -> socket.socket:
        """A non-blocking socket that listens on TCP `host`:`port` (0: any free one). Raises a `TrellisError`."""

    async def release(self, listener: socket.socket) -> None:
        """The provider accepts no more from it. Closes it if nobody else of this host uses it. Idempotent."""

    def shared_as(self, listener: socket.socket) -> str | None:
        """What every host that accepts from this very socket calls it, and no other socket anywhere is called.

        Letters and digits, at most 64. None: this host alone accepts from it.
        """


class BoundListeners:
    """Binds each address itself, in this process."""

    def __init__(self, backlog: int = 2048) -> None:
        self._backlog = backlog

    async def open(self, host: str, port: int) -> socket.socket:
        return bind(host, port, self._backlog)

    async def release(self, listener: socket.socket) -> None:
        listener.close()

    def shared_as(self, listener: socket.socket) -> str | None:
        return None


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket. Raises `Conflict` for an address in use, `Denied` or `ConfigError` for one not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # On POSIX this lets a restart pass sockets in TIME_WAIT; it does not let two programs listen.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _translated(error, host, port) from None
    except OverflowError:
        listener.close()
        raise ConfigError(f"{port} is not a port.", remedy="Ports are 0 to 65535.") from None
    return listener


def _translated(error: OSError, host: str, port: int) -> Conflict | Denied | ConfigError:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"The address {where} is already in use.",
            remedy=f"Stop what listens there (`ss -ltnp 'sport = :{port}'` names it) or choose another port.",
            address=where,
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Denied(
            f"Not allowed to listen on {where}.",
            remedy="Choose a port from 1024 up, or grant the right.",
            address=where,
        )
    return ConfigError(
        f"Cannot listen on {where}: {os.strerror(error.errno) if error.errno and error.errno > 0 else error}.",
        remedy="Use an IP address of this machine, such as 0.0.0.0 or 127.0.0.1.",
        address=where,
    )


def split_address(text: str) -> tuple[str, int]:
    """`0.0.0.0:8000`, `[::]:8000`, `localhost:8000` → host and port. Raises `ConfigError`."""
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"{text!r} is not an address to listen on.", remedy="Write host:port, such as 0.0.0.0:8000.", value=text
        )
    return ("127.0.0.1" if host == "localhost" else host), int(port)
