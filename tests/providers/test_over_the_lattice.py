"""Providers called over NATS look the same as in the process: values, variants, names and resources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from trellis_lattice.bus.connection import Connection
from trellis_lattice.errors import InvocationFailed, NotFound
from trellis_lattice.invocation.api import Call, Handle
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.invocation.server import LatticeServer
from trellis_lattice.wit.values import Case, Err, Ok
from trellis_provider_sdk import Provider, ProviderRunner
from trellis_provider_sdk.testing import FakeContext
from trellis_providers.keyvalue_memory import KeyValueMemory

from .conftest import Components
from .test_runner import GREETER, Counters, Greeter


class Remote:
    """A provider on one side of NATS, a caller on the other."""

    def __init__(self, connection: Connection, lattice: str) -> None:
        self.connection = connection
        self.lattice = lattice
        self.invoker = LatticeInvoker(connection, lattice)
        self.server: LatticeServer | None = None
        self.runner: ProviderRunner | None = None
        self.released: list[object] = []

    async def serve(self, provider: Provider) -> None:
        runner = self.runner = ProviderRunner(provider, FakeContext("far", Components(), self.lattice))
        await runner.start()

        def release(value: object) -> None:
            self.released.append(value)
            runner.release(value)

        self.server = await LatticeServer.start(self.connection, self.lattice, "host", released=release)
        await self.server.serve("far", runner)

    async def call(self, interface: str, function: str, *args: Any, instance: str | None = None) -> Any:
        assert self.runner is not None
        type = self.runner.function_type(interface, function)
        deadline = asyncio.get_running_loop().time() + 10
        return await self.invoker.invoke(
            Call("far", interface, function, args, type, deadline, "app", instance=instance)
        )

    async def aclose(self) -> None:
        await self.invoker.aclose()
        if self.server is not None:
            await self.server.aclose()
        if self.runner is not None:
            await self.runner.stop()


@pytest.fixture
async def remote(connection: Connection, lattice: str) -> AsyncIterator[Remote]:
    made = Remote(connection, lattice)
    yield made
    await made.aclose()


async def test_values_and_failures_cross(remote: Remote, caplog: pytest.LogCaptureFixture) -> None:
    await remote.serve(Greeter())
    assert await remote.call(GREETER, "hello-there", "Ada", 1) == "Hello, Ada! "
    assert await remote.call(GREETER, "nothing") is None
    assert await remote.call(GREETER, "fail", "answer") == Err("no")
    with pytest.raises(InvocationFailed) as failed:
        await remote.call(GREETER, "fail", "bug")
    assert failed.value.fields["provider"] == "far"
    assert "secret details" not in str(failed.value)


async def test_a_bucket_travels_as_its_name(remote: Remote) -> None:
    await remote.serve(KeyValueMemory())
    store = "wasi:keyvalue/store@0.2.0-draft"
    opened = await remote.call(store, "open", "orders")
    assert opened == Ok(Handle("", "orders", "wasi:keyvalue/store.bucket"))
    bucket = opened.value
    assert await remote.call(store, "[method]bucket.set", bucket, "k", b"\x00v") == Ok(None)
    assert await remote.call(store, "[method]bucket.get", bucket, "k") == Ok(b"\x00v")
    assert await remote.call(store, "[method]bucket.get", bucket, "missing") == Ok(None)
    page = await remote.call(store, "[method]bucket.list-keys", bucket, None)
    assert page == Ok({"keys": ["k"], "cursor": None})
    refused = await remote.call("wasi:keyvalue/atomics@0.2.0-draft", "increment", bucket, "k", 1)
    assert refused == Err(Case("other", "The value of k is not a number."))


async def test_a_resource_lives_where_it_was_made(remote: Remote) -> None:
    await remote.serve(Counters())
    counters = "acme:count/counters@0.1.0"
    counter = await remote.call(counters, "[constructor]counter", 40)
    assert isinstance(counter, Handle)
    assert counter.owner
    add = "[method]counter.add"
    assert await remote.call(counters, add, counter, 1, instance=counter.owner) == 41
    assert await remote.call(counters, add, counter, 1, instance=counter.owner) == 42
    remote.invoker.drop(counter)
    async with asyncio.timeout(10):
        while not remote.released:
            await asyncio.sleep(0)
    (value,) = remote.released
    while not value.closed:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


async def test_what_the_provider_lacks_is_named(remote: Remote) -> None:
    await remote.serve(Greeter())
    assert remote.runner is not None
    type = remote.runner.function_type(GREETER, "nothing")
    deadline = asyncio.get_running_loop().time() + 10
    with pytest.raises(NotFound, match="no function gone"):
        await remote.invoker.invoke(Call("far", GREETER, "gone", (), type, deadline, "app"))
