"""Unmodified components of the usual toolchains: ordinary Python, ordinary JavaScript."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.wasi import toolchains
from tests.wasi.components.build import SOURCES, compile_source
from tests.wasi.conftest import Subject
from tests.wasi.world import World
from trellis_host.wasi import HttpClient, HttpGrants
from trellis_lattice.errors import InvocationFailed
from trellis_lattice.streams import Pipe, read_all

pytestmark = [pytest.mark.guests, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def python_bytes() -> bytes:
    return toolchains.python_component()


@pytest.fixture(scope="session")
def javascript_bytes() -> bytes:
    return toolchains.javascript_component()


@pytest_asyncio.fixture
async def python(load: Callable[[bytes], Any], python_bytes: bytes) -> Subject:
    return await load(python_bytes)


@pytest_asyncio.fixture
async def javascript(load: Callable[[bytes], Any], javascript_bytes: bytes) -> Subject:
    return await load(javascript_bytes)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_what_is_committed_is_what_its_source_compiles_to(source: Path) -> None:
    assert compile_source(source) == source.with_suffix(".wasm").read_bytes()


async def test_pythons_standard_library(python: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner, environment={"GREETING": "hello"}, arguments=("prog", "-v", "x"))
    assert (await python.text(world, "/")).splitlines() == [
        "hello",
        "-v x",
        "FileNotFoundError",
        "PermissionError",
        "True",
        "True",
        "16",
        "''",
    ]


async def test_python_prints_and_streams(python: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    assert await python.text(world, "/print") == ""
    assert [(record.source, record.message) for record in world.records] == [
        ("stdout", "to stdout"),
        ("stderr", "to stderr"),
    ]
    upload = Pipe()
    response = await python.request(World(owner), "/echo", upload)
    for word in (b"one", b"two"):
        upload.write(word)
        assert await response.body.read(100) == word
    upload.end()
    assert await read_all(response.body, 100) == b""
    await python.ended(2)


async def test_a_python_exception_is_a_failed_invocation_with_its_traceback_in_the_log(
    python: Subject, owner: asyncio.TaskGroup
) -> None:
    world = World(owner)
    with pytest.raises(InvocationFailed):
        await python.request(world, "/raise")
    await python.ended(1)
    assert "ValueError: as asked" in world.lines


async def test_javascripts_web_apis(javascript: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    assert await javascript.text(world, "/log", headers=[("x-here", b"yes")]) == "true 10 yes"
    assert world.lines == ["to the log", "to the error log"]
    assert await javascript.text(World(owner), "/slow") == "".join(f"tick {n}\n" for n in range(1, 6))
    data = json.dumps(list(range(30_000))).encode()
    assert await javascript.text(World(owner), "/echo", data, method="POST") == data.decode()


async def test_javascript_fetches_what_it_was_granted(javascript: Subject, owner: asyncio.TaskGroup) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"from JavaScript"))
        writer.write(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    client = HttpClient()
    try:
        world = World(owner, client=client, grants=HttpGrants([f"127.0.0.1:{port}"]))
        assert await javascript.text(world, f"/fetch/{port}") == "200 hello"
        assert heard[0].startswith(b"POST /from-js HTTP/1.1\r\n")
        assert (await javascript.text(World(owner), f"/fetch/{port}")).startswith("failed")
        assert len(heard) == 1
    finally:
        await client.aclose()
        listener.close()
        await listener.wait_closed()
