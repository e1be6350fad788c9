"""A supervised host's end of the channel to its supervisor: says what it has to say, notices when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import Any

from trellis_lattice.errors import ConfigError

__all__ = ["SupervisorChannel"]


class SupervisorChannel:
    """Made from the descriptor that `Child.spawn` passes on the command line."""

    def __init__(self, descriptor: int) -> None:
        """Raises `ConfigError` if that is not a socket."""
        try:
            os.set_inheritable(descriptor, False)
            self._socket = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ConfigError(f"Descriptor {descriptor} is no channel to a supervisor: {error.strerror}.") from error
        self._socket.setblocking(False)

    def tell(self, event: str, **fields: Any) -> None:
        """One short message; lost if the supervisor is gone."""
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps({"event": event, **fields}).encode() + b"\n")

    async def gone(self) -> None:
        """Returns once the supervisor has ended."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while await loop.sock_recv(self._socket, 1024):
                pass

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()
