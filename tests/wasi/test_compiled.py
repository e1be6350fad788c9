"""Unmodified components of compilers: Zig, and Rust with its own WASI target and standard library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.fixtures import components
from tests.wasi.conftest import Subject
from tests.wasi.world import World
from trellis_lattice.errors import InvocationFailed
from trellis_lattice.streams import Pipe, read_all


@pytest_asyncio.fixture
async def zig(load: Callable[[bytes], Any]) -> Subject:
    return await load(components.http_hello_zig())


@pytest_asyncio.fixture
async def rust(load: Callable[[bytes], Any]) -> Subject:
    return await load(components.http_hello_rust())


async def test_zig_answers_http(zig: Subject, owner: asyncio.TaskGroup) -> None:
    response = await zig.request(World(owner), "/some/where?x=1")
    assert (response.status, response.headers) == (200, [("content-type", b"text/plain"), ("x-made-with", b"zig")])
    assert await read_all(response.body, 1000) == b"Hello from Zig, /some/where?x=1\n"
    await zig.ended(1)
    long = "/" + "a" * 10_000
    assert await zig.text(World(owner), long) == f"Hello from Zig, {long}\n"


async def test_rust_answers_http(rust: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner, environment={"GREETING": "Good day"})
    response = await rust.request(world, "/there?x=1", headers=[("x-here", b"yes"), ("x-here", b"\xff"), ("a", b"b")])
    assert response.status == 201
    assert response.headers == [("content-type", b"text/plain"), ("x-here", b"yes"), ("x-here", b"\xff")]
    assert await read_all(response.body, 1000) == b"Good day from Rust, /there?x=1\n"
    await rust.ended(1)
    assert [(record.source, record.message) for record in world.records] == [("stdout", "Method::Get /there?x=1")]
    assert await rust.text(World(owner), "/", method="PUT") == "Hello from Rust, /\n"


async def test_rust_streams_what_comes_while_it_comes(rust: Subject, owner: asyncio.TaskGroup) -> None:
    upload = Pipe()
    response = await rust.request(World(owner), "/echo", upload, method="POST")
    for word in (b"one", b"two"):
        upload.write(word)
        assert await response.body.read(100) == word
    upload.end()
    assert await read_all(response.body, 100) == b""
    await rust.ended(1)
    data = bytes(range(256)) * 4000
    response = await rust.request(World(owner), "/echo", data, method="POST")
    assert await read_all(response.body, 1 << 21) == data
    await rust.ended(2)


async def test_a_rust_panic_is_a_failed_invocation_with_its_message_in_the_log(
    rust: Subject, owner: asyncio.TaskGroup
) -> None:
    world = World(owner)
    with pytest.raises(InvocationFailed):
        await rust.request(world, "/panic")
    await rust.ended(1)
    assert "as asked" in world.lines
    assert {record.source for record in world.records} == {"stderr"}
