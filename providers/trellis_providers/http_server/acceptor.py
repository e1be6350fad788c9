"""Takes connections from a listening socket that belongs to someone else.

The laws of this file: nothing that was accepted is lost, also not while stopping (`loop.create_server` closes
the socket it is given, and may drop what it has just accepted); at the limit, clients wait in the socket's
queue, where another host of the same address may take them.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

__all__ = ["Acceptor"]

_log = logging.getLogger("trellis.http-server")

_AT_ONCE = 64
"""Most connections taken in one turn of the event loop, so that requests are answered in between."""


class Acceptor:
    """Makes a protocol for each client, until `stop`. `room(n)` says whether one more may come
    beside the `n` that are just being let in."""

    def __init__(
        self, listening: socket.socket, make: Callable[[], asyncio.Protocol], room: Callable[[int], bool]
    ) -> None:
        self._listening = listening
        self._make = make
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._admitting: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._stopped = False
        self.resume()

    def resume(self) -> None:
        """Accepts again, if it had to pause and there is room now. Cheap; called whenever there might be."""
        if not self._accepting and not self._stopped and self._room(len(self._admitting)):
            self._accepting = True
            self._loop.add_reader(self._listening, self._accept)

    async def stop(self) -> None:
        """Accepts no more; returns when every accepted client has its protocol. Idempotent."""
        self._stopped = True
        self._pause()
        if self._admitting:
            await asyncio.wait(self._admitting)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listening)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._room(len(self._admitting)):
                self._pause()
                return
            try:
                client, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of file descriptors, as a rule. The listener resumes us.
                _log.warning("Accepting on %s failed: %s", self._listening.getsockname(), error)
                self._pause()
                return
            client.setblocking(False)
            task = self._loop.create_task(self._admit(client), name="admit-http-client")
            self._admitting.add(task)
            task.add_done_callback(self._admitting.discard)

    async def _admit(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, client)
        except OSError as error:
            _log.debug("A client was gone before it was served: %s", error)
            client.close()
