"""The load generator counts what a server really answered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import load

pytestmark = pytest.mark.guests

OK = b"HTTP/1.1 200 OK\r\n"
WITH_LENGTH = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n...\r\n0\r\n\r\n"
EMPTY = OK + b"content-length: 0\r\n\r\n"
FAILING = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"


@asynccontextmanager
async def server(answer: bytes, write: Callable[[asyncio.StreamWriter, bytes], None]) -> AsyncIterator[list[int]]:
    """Answers every request with `answer`; yields [port, requests]."""
    seen = [0, 0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                seen[1] += 1
                write(writer, answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen[0] = listening.sockets[0].getsockname()[1]
    async with listening:
        yield seen


def whole(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)


def in_pieces(writer: asyncio.StreamWriter, data: bytes) -> None:
    for index in range(0, len(data), 7):
        writer.write(data[index : index + 7])


@pytest.mark.parametrize("write", [whole, in_pieces])
@pytest.mark.parametrize("answer", [WITH_LENGTH, CHUNKED, EMPTY])
async def test_whole_answers_are_counted_once(answer, write):
    async with server(answer, write) as seen:
        done = await load(seen[0], connections=4, seconds=0.2, warmup=0)
    assert done.bad_status == done.failures == 0
    assert 0 < done.answers <= seen[1] <= done.answers + 4
    assert done.bytes == done.answers * len(answer)
    assert 0 < done.p50_ms <= done.p99_ms <= done.max_ms


async def test_answers_other_than_200_are_no_good_answers():
    async with server(FAILING, whole) as seen:
        done = await load(seen[0], connections=2, seconds=0.2, warmup=0)
    assert done.bad_status == done.answers > 0
    assert done.rate == 0


async def test_a_server_that_makes_no_sense_is_a_failure():
    async with server(b"HTTP/1.1 200 OK\r\n\r\n", whole) as seen:
        done = await load(seen[0], connections=2, seconds=0.2, warmup=0)
    assert done.answers == 0
    assert done.failures > 0


async def test_nobody_listening_is_an_error():
    with pytest.raises(RuntimeError, match="load generator"):
        await load(1, connections=1, seconds=0.1, warmup=0)
