"""A steady HTTP load that counts every request and says what became of each."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["Load", "Sample", "lost", "outcomes", "steady"]

_TIMEOUT = 30.0
"""Seconds that a client waits for its answer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One request. Times are of the event loop; `outcome` is `ok`, a status, or how the connection failed."""

    started: float
    ended: float
    outcome: str
    maybe_executed: bool = False

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


@dataclass(slots=True)
class Load:
    """Requests at `rate` per second, each over a connection of its own, to the addresses in turn."""

    addresses: tuple[tuple[str, int], ...]
    rate: float
    path: str = "/"
    samples: list[Sample] = field(default_factory=list)
    sent: int = 0
    running: set[asyncio.Task[None]] = field(default_factory=set)
    _open: dict[int, float] = field(default_factory=dict)
    """When the requests began that have not ended yet."""

    def after(self, moment: float, until: float = float("inf")) -> list[Sample]:
        """The requests that began at or after `moment`, and before `until`."""
        return [each for each in self.samples if moment <= each.started < until]

    def failures(self, since: float = float("-inf")) -> list[Sample]:
        """Those that ended badly after `since`."""
        return [each for each in self.samples if not each.ok and each.ended >= since]

    async def answered(self, since: float, *, seconds: float) -> float | None:
        """Seconds from `since` until the end of the first good request that began after it; None: not in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            ends = [each.ended for each in self.samples if each.ok and each.started >= since]
            if ends:
                return min(ends) - since
            await asyncio.sleep(0.005)
        return None

    async def healthy(self, *, answers: int = 20, seconds: float = 30.0) -> None:
        """Returns once the last so many requests went well. Raises TimeoutError."""
        since = asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds):
            while len(last := self.after(since)[-answers:]) < answers or not all(each.ok for each in last):
                await asyncio.sleep(0.02)

    async def quiet(self, since: float, *, of: float, within: float) -> float | None:
        """Seconds from `since` until the last failure ended, once `of` seconds have passed without another one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while loop.time() < deadline:
            last = max((each.ended for each in self.failures(since)), default=since)
            oldest = min((each for each in self._open.values()), default=loop.time())
            if loop.time() - last >= of and loop.time() - oldest < of:
                return last - since
            await asyncio.sleep(0.02)
        return None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            number, self.sent = self.sent, self.sent + 1
            task = asyncio.create_task(self._one(number))
            self.running.add(task)
            task.add_done_callback(self.running.discard)
            due = max(due + 1 / self.rate, loop.time() - 1.0)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _one(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        started = self._open[number] = loop.time()
        address = self.addresses[number % len(self.addresses)]
        try:
            async with asyncio.timeout(_TIMEOUT):
                outcome, maybe = await _request(*address, self.path)
        except TimeoutError:
            outcome, maybe = "no answer", True
        except ConnectionRefusedError:
            outcome, maybe = "refused", False
        except OSError as error:
            outcome, maybe = f"{type(error).__name__}", True
        del self._open[number]
        self.samples.append(Sample(started, loop.time(), outcome, maybe))


async def _request(host: str, port: int, path: str) -> tuple[str, bool]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, _, _ = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        return "reset", True
    maybe = b"maybe-executed: true" in head.lower()
    return ("ok" if words[1] == b"200" else words[1].decode()), maybe


@asynccontextmanager
async def steady(addresses: Iterable[tuple[str, int]], rate: float, path: str = "/") -> AsyncIterator[Load]:
    """A load that runs for the length of the block; then every request has ended and is counted."""
    load = Load(tuple(addresses), rate, path)
    task = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        task.cancel()
        await asyncio.gather(task, *load.running, return_exceptions=True)


def lost(samples: Iterable[Sample]) -> list[Sample]:
    """The failures of requests that had certainly not been executed."""
    return [each for each in samples if not each.ok and not each.maybe_executed]


def outcomes(samples: Iterable[Sample]) -> str:
    """How many of each kind, in words."""
    counted = Counter(f"{each.outcome}{' (maybe executed)' if each.maybe_executed else ''}" for each in samples)
    return ", ".join(f"{times} × {what}" for what, times in counted.most_common()) or "none"


async def _alone(host: str, port: int, rate: float, seconds: float) -> None:
    async with steady([(host, port)], rate) as load:
        await asyncio.sleep(seconds)
    failed = [each for each in load.samples if not each.ok]
    print(json.dumps({"requests": len(load.samples), "failed": len(failed), "how": outcomes(failed)}))


if __name__ == "__main__":
    # As a process of its own on a machine that is cut off: HOST PORT RATE SECONDS.
    asyncio.run(_alone(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
