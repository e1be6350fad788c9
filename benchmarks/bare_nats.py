"""Request and reply with nats-py alone, between two processes: what calls over the lattice are measured against.

Both run on uvloop, as hosts do.

    python -m benchmarks.bare_nats respond URL     answers what it is sent; says "ready" on its output
    python -m benchmarks.bare_nats request URL     for each line "TIMES SIZE" on its input, one with the seconds
                                                   of each request, a JSON array
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import nats
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

__all__ = ["BareNats"]

SUBJECT = "bench.bare"


class BareNats:
    """Makes requests in another process. Opened with `running`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def running(cls, url: str) -> AsyncIterator[BareNats]:
        """Both processes, connected; ended with the block."""
        async with AsyncExitStack() as stack:
            for role in ("respond", "request"):
                process = await stack.enter_async_context(_process(role, url))
                assert process.stdout is not None
                await process.stdout.readline()
            yield cls(process)

    async def times(self, times: int, size: int) -> list[float]:
        """Seconds of each of `times` requests of `size` bytes, one after the other."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{times} {size}\n".encode())
        taken: list[float] = json.loads(await self._process.stdout.readline())
        return taken


@asynccontextmanager
async def _process(role: str, url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "benchmarks.bare_nats", role, url]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 24)
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def _respond(client: Client) -> None:
    async def respond(message: Msg) -> None:
        await message.respond(message.data)

    await client.subscribe(SUBJECT, queue=SUBJECT, cb=respond)
    await client.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _request(client: Client) -> None:
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        times, size = map(int, line.split())
        payload = b"x" * size
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            await client.request(SUBJECT, payload, timeout=10)
            taken.append(time.perf_counter() - started)
        print(json.dumps(taken), flush=True)


async def _main(role: str, url: str) -> None:
    client = await nats.connect(url)
    try:
        await {"respond": _respond, "request": _request}[role](client)
    finally:
        await client.close()


if __name__ == "__main__":
    uvloop.run(_main(*sys.argv[1:]))
