"""The conformance kit of `wasi:keyvalue` stores: every store that ships passes it, through the provider's own door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from trellis_lattice.bus.connection import Connection
from trellis_lattice.invocation.api import Call, Handle
from trellis_lattice.wit.values import Case, Err, Ok
from trellis_provider_sdk import ProviderRunner
from trellis_provider_sdk.testing import FakeContext
from trellis_providers.keyvalue_memory import KeyValueMemory
from trellis_providers.keyvalue_nats import KeyValueNats

from .conftest import Components


class Store:
    """A store as a component sees it: WIT functions and WIT values."""

    def __init__(self, runner: ProviderRunner) -> None:
        self.runner = runner

    async def call(self, interface: str, function: str, *args: Any, source: str = "app", link: str = "default") -> Any:
        name = f"wasi:keyvalue/{interface}@0.2.0-draft"
        type = self.runner.function_type(name, function)
        assert len(type.params) == len(args)
        deadline = asyncio.get_running_loop().time() + 20
        return await self.runner.serve(Call("kv", name, function, args, type, deadline, source, link))

    async def open(self, identifier: str = "default", **options: str) -> Handle:
        opened = await self.call("store", "open", identifier, **options)
        assert isinstance(opened, Ok), opened
        assert isinstance(opened.value, Handle)
        assert opened.value == Handle("", identifier, "wasi:keyvalue/store.bucket")
        return opened.value

    async def get(self, bucket: Handle, key: str) -> Any:
        return await self.call("store", "[method]bucket.get", bucket, key)

    async def set(self, bucket: Handle, key: str, value: bytes) -> Any:
        return await self.call("store", "[method]bucket.set", bucket, key, value)

    async def delete(self, bucket: Handle, key: str) -> Any:
        return await self.call("store", "[method]bucket.delete", bucket, key)

    async def exists(self, bucket: Handle, key: str) -> Any:
        return await self.call("store", "[method]bucket.exists", bucket, key)

    async def increment(self, bucket: Handle, key: str, delta: int) -> Any:
        return await self.call("atomics", "increment", bucket, key, delta)

    async def all_keys(self, bucket: Handle) -> list[str]:
        keys: list[str] = []
        cursor = None
        while True:
            page = await self.call("store", "[method]bucket.list-keys", bucket, cursor)
            keys += page.value["keys"]
            cursor = page.value["cursor"]
            if cursor is None:
                return keys


def _memory(lattice: str, connection: Connection) -> ProviderRunner:
    return ProviderRunner(KeyValueMemory(), FakeContext("kv", Components(), lattice))


def _nats(lattice: str, connection: Connection) -> ProviderRunner:
    return ProviderRunner(KeyValueNats(), FakeContext("kv", Components(), lattice, nats=connection))


@pytest.fixture(params=[_memory, _nats], ids=["memory", "nats"])
async def store(request: pytest.FixtureRequest, lattice: str, connection: Connection) -> AsyncIterator[Store]:
    make: Callable[[str, Connection], ProviderRunner] = request.param
    runner = make(lattice, connection)
    await runner.start()
    yield Store(runner)
    await runner.stop()


KEYS = [
    "plain",
    "with space",
    "ümlaut/日本",
    "a.b",
    ".a",
    "a.",
    "a..b",
    "",
    "=",
    "=3D",
    "*",
    ">",
    "a\nb",
    "\x00",
    "/x/",
    "%41",
]


async def test_what_is_set_can_be_got(store: Store) -> None:
    bucket = await store.open()
    for number, key in enumerate(KEYS):
        assert await store.get(bucket, key) == Ok(None)
        assert await store.exists(bucket, key) == Ok(False)
        assert await store.set(bucket, key, b"%d" % number) == Ok(None)
    for number, key in enumerate(KEYS):
        assert await store.get(bucket, key) == Ok(b"%d" % number)
        assert await store.exists(bucket, key) == Ok(True)
    assert sorted(await store.all_keys(bucket)) == sorted(KEYS)


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"x" * 500_000], ids=["empty", "binary", "large"])
async def test_values_are_bytes(store: Store, value: bytes) -> None:
    bucket = await store.open()
    assert await store.set(bucket, "k", value) == Ok(None)
    assert await store.get(bucket, "k") == Ok(value)


async def test_setting_again_replaces(store: Store) -> None:
    bucket = await store.open()
    for value in (b"1", b"2"):
        await store.set(bucket, "k", value)
    assert await store.get(bucket, "k") == Ok(b"2")
    assert await store.all_keys(bucket) == ["k"]


async def test_deleting_is_final_and_idempotent(store: Store) -> None:
    bucket = await store.open()
    await store.set(bucket, "k", b"1")
    for _ in range(2):
        assert await store.delete(bucket, "k") == Ok(None)
        assert await store.get(bucket, "k") == Ok(None)
        assert await store.exists(bucket, "k") == Ok(False)
    assert await store.all_keys(bucket) == []
    await store.set(bucket, "k", b"2")
    assert await store.get(bucket, "k") == Ok(b"2")


async def test_the_empty_identifier_is_the_default_bucket(store: Store) -> None:
    await store.set(await store.open(""), "k", b"1")
    assert await store.get(await store.open("default"), "k") == Ok(b"1")


async def test_many_keys_come_in_pages(store: Store) -> None:
    bucket = await store.open()
    keys = [f"k{number}" for number in range(2300)]
    await store.call("batch", "set-many", bucket, [(key, b"x") for key in keys])
    first = await store.call("store", "[method]bucket.list-keys", bucket, None)
    assert len(first.value["keys"]) < 2300
    assert first.value["cursor"] is not None
    assert sorted(await store.all_keys(bucket)) == sorted(keys)


async def test_no_key_is_missed_while_others_write(store: Store) -> None:
    bucket = await store.open()
    keys = [f"k{number}" for number in range(1500)]
    await store.call("batch", "set-many", bucket, [(key, b"x") for key in keys])
    first = (await store.call("store", "[method]bucket.list-keys", bucket, None)).value
    await store.delete(bucket, first["keys"][0])
    await store.set(bucket, first["keys"][1], b"y")
    second = (await store.call("store", "[method]bucket.list-keys", bucket, first["cursor"])).value
    assert set(first["keys"]) | set(second["keys"]) == set(keys)


async def test_increments_add_up(store: Store) -> None:
    bucket = await store.open()
    assert await store.increment(bucket, "n", 5) == Ok(5)
    assert await store.increment(bucket, "n", 0) == Ok(5)
    assert await store.get(bucket, "n") == Ok(b"5")
    results = await asyncio.gather(*(store.increment(bucket, "n", 1) for _ in range(50)))
    assert sorted(result.value for result in results) == list(range(6, 56))
    await store.delete(bucket, "n")
    assert await store.increment(bucket, "n", 2) == Ok(2)


async def test_what_is_no_number_cannot_be_incremented(store: Store) -> None:
    bucket = await store.open()
    await store.set(bucket, "text", b"hello")
    refused = await store.increment(bucket, "text", 1)
    assert isinstance(refused, Err)
    assert refused.value.name == "other"
    assert await store.get(bucket, "text") == Ok(b"hello")


async def test_a_number_does_not_overflow(store: Store) -> None:
    bucket = await store.open()
    assert await store.increment(bucket, "n", 2**64 - 1) == Ok(2**64 - 1)
    assert isinstance(await store.increment(bucket, "n", 1), Err)
    assert await store.get(bucket, "n") == Ok(b"%d" % (2**64 - 1))


async def test_batches_keep_order_and_mark_what_is_absent(store: Store) -> None:
    bucket = await store.open()
    pairs = [("b", b"2"), ("a", b"1"), ("c", b"3")]
    assert await store.call("batch", "set-many", bucket, pairs) == Ok(None)
    got = await store.call("batch", "get-many", bucket, ["a", "missing", "b", "a"])
    assert got == Ok([("a", b"1"), None, ("b", b"2"), ("a", b"1")])
    assert await store.call("batch", "delete-many", bucket, ["a", "missing", "c"]) == Ok(None)
    assert await store.all_keys(bucket) == ["b"]
    assert await store.call("batch", "get-many", bucket, []) == Ok([])


async def test_a_batch_is_bounded(store: Store) -> None:
    bucket = await store.open()
    refused = await store.call("batch", "get-many", bucket, ["k"] * 10_001)
    assert isinstance(refused, Err)
    assert isinstance(refused.value, Case)
    assert "10001" in refused.value.value
