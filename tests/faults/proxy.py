"""A TCP proxy that makes a network slow or half open, where the kernel cannot."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["Proxy"]

_CHUNK = 64 * 1024


class Proxy:
    """Passes connections on to `target`: an `async with` block.

    `delay`: seconds that each piece takes longer, in each direction. `holding` is clear while nothing is passed on
    and nobody is told: the connections stay open.
    """

    def __init__(self, address: str, target: tuple[str, int]) -> None:
        self.delay = 0.0
        self.holding = asyncio.Event()
        self.holding.set()
        self._address = address
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"nats://{host}:{port}"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, self._address, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Everything in order, each piece at its time."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1024)
        sending = asyncio.create_task(self._send(pieces, sink))
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError):
                while piece := await source.read(_CHUNK):
                    await pieces.put((loop.time() + self.delay, piece))
            await pieces.put((loop.time() + self.delay, b""))
            await sending
        finally:
            sending.cancel()
            sink.close()

    async def _send(self, pieces: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while (item := await pieces.get())[1]:
                await asyncio.sleep(max(0.0, item[0] - loop.time()))
                await self.holding.wait()
                sink.write(item[1])
                await sink.drain()
