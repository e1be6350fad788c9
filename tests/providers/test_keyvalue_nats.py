"""What only keyvalue-nats does: buckets by link, foreign writers, several hosts, a NATS that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.errors import ConfigError, Unavailable
from trellis_lattice.subjects import bucket_key
from trellis_lattice.tracing import RecentSpans, Tracing
from trellis_lattice.wit.values import Case, Err, Ok
from trellis_provider_sdk import ProviderLink, ProviderRunner
from trellis_provider_sdk.testing import FakeContext
from trellis_providers.keyvalue_nats import KeyValueNats
from trellis_providers.keyvalue_nats.keys import decode_key, encode_key
from trellis_providers.keyvalue_nats.settings import store_settings

from .conftest import Components
from .test_keyvalue import Store


def context(lattice: str, connection: Connection, tracing: Tracing | None = None, **config: str) -> FakeContext:
    return FakeContext("kv", Components(), lattice, config, nats=connection, tracing=tracing or Tracing())


def link(source: str = "app", name: str = "default", **config: str) -> ProviderLink:
    return ProviderLink(source, "kv", name, "wasi", "keyvalue", ("store", "atomics"), {}, config)


@pytest.fixture
async def store(lattice: str, connection: Connection) -> AsyncIterator[Store]:
    runner = ProviderRunner(KeyValueNats(), context(lattice, connection))
    await runner.start()
    yield Store(runner)
    await runner.stop()


def soon() -> float:
    return asyncio.get_running_loop().time() + 10


@given(st.text(max_size=40))
def test_every_text_is_a_key_and_comes_back(key: str) -> None:
    encoded = encode_key(key)
    assert bucket_key(encoded) == encoded
    assert decode_key(encoded) == key


@given(st.text("a.=3D", max_size=8), st.text("a.=3D", max_size=8))
def test_different_texts_are_different_keys(one: str, other: str) -> None:
    assert (encode_key(one) == encode_key(other)) == (one == other)


@pytest.mark.parametrize("key", ["user/42", "a.b_c-d", "A", "0"])
def test_plain_keys_stay_as_they_are(key: str) -> None:
    assert encode_key(key) == key


@pytest.mark.parametrize("foreign", ["a=b", "=4", "=zz", "=C3", "=61"])
def test_what_others_wrote_in_our_escape_is_no_key(foreign: str) -> None:
    assert decode_key(foreign) is None


async def test_links_give_components_their_buckets(store: Store, lattice: str) -> None:
    await store.runner.link_put(link("one", bucket=f"{lattice}-one", buckets=f"{lattice}-both"))
    await store.runner.link_put(link("two", bucket=f"{lattice}-two", buckets=f"{lattice}-both"))
    one, two = await store.open(source="one"), await store.open(source="two")
    method = "[method]bucket.set"
    await store.call("store", method, one, "k", b"1", source="one")
    assert await store.call("store", "[method]bucket.get", two, "k", source="two") == Ok(None)
    await store.open(f"{lattice}-both", source="one")
    denied = Err(Case("access-denied"))
    assert await store.call("store", "open", f"{lattice}-two", source="one") == denied
    assert await store.call("store", "[method]bucket.get", one, "k", source="stranger") == Ok(None)


async def test_a_named_link_has_a_bucket_of_its_own(store: Store, lattice: str) -> None:
    await store.runner.link_put(link(bucket=f"{lattice}-a"))
    await store.runner.link_put(link(name="cache", bucket=f"{lattice}-b"))
    bucket = await store.open()
    await store.call("store", "[method]bucket.set", bucket, "k", b"1", link="cache")
    assert await store.get(bucket, "k") == Ok(None)
    assert await store.call("store", "[method]bucket.get", bucket, "k", link="cache") == Ok(b"1")
    await store.runner.link_delete(link(name="cache").key)
    assert await store.call("store", "[method]bucket.get", bucket, "k", link="cache") == Ok(None)


@pytest.mark.parametrize("identifier", ["LATTICEDATA_default", "other", "a.b", "*", "x" * 500])
async def test_other_buckets_are_denied(store: Store, identifier: str) -> None:
    assert await store.call("store", "open", identifier) == Err(Case("access-denied"))


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"bucket": "LATTICEDATA_default"}, "LATTICEDATA_default"),
        ({"bucket": "a.b"}, "a.b"),
        ({"buckets": "ok, n o"}, "n o"),
        ({"enable_bucket_auto_create": "perhaps"}, "enable_bucket_auto_create"),
        ({"client_seed": "SU"}, "client_seed"),
    ],
)
async def test_wrong_configuration_fails_the_link(store: Store, config: dict[str, str], place: str) -> None:
    with pytest.raises(ConfigError) as refused:
        await store.runner.link_put(link(**config))
    assert place in str(refused.value)


async def test_a_link_in_the_wrong_direction_says_so(store: Store) -> None:
    with pytest.raises(ConfigError, match="source of a link"):
        await store.runner.link_put(ProviderLink("kv", "app", "default", "wasi", "keyvalue"))


def test_a_links_config_wins_over_the_providers() -> None:
    settings = store_settings({"bucket": "a", "Cluster_URI": "nats://x:1, nats://y:2"}, "default")
    assert (settings.bucket, settings.urls) == ("a", ("nats://x:1", "nats://y:2"))
    assert store_settings({}, "prod").bucket == "kv-prod"


async def test_without_auto_create_a_missing_bucket_is_no_store(store: Store, lattice: str) -> None:
    await store.runner.link_put(link(bucket=f"{lattice}-x", enable_bucket_auto_create="false"))
    assert await store.call("store", "open", "default") == Err(Case("no-such-store"))


async def test_new_provider_configuration_moves_the_default_bucket(
    store: Store, lattice: str, connection: Connection
) -> None:
    bucket = await store.open()
    await store.set(bucket, "k", b"1")
    await store.runner.config_changed({"bucket": f"{lattice}-new"})
    assert await store.get(bucket, "k") == Ok(None)


async def test_other_clients_see_plain_keys_and_values(store: Store, lattice: str, connection: Connection) -> None:
    await store.set(await store.open(), "user/1", b"ada")
    raw = await open_bucket(connection, f"kv-{lattice}", deadline=soon())
    entry = await raw.get("user/1", deadline=soon())
    assert entry is not None
    assert entry.value == b"ada"


async def test_a_value_over_the_limit_is_refused(store: Store, connection: Connection) -> None:
    bucket = await store.open()
    refused = await store.set(bucket, "k", b"x" * (connection.max_payload + 1))
    assert isinstance(refused, Err)
    assert str(connection.max_payload) in refused.value.value
    assert await store.get(bucket, "k") == Ok(None)


async def test_a_key_over_the_limit_is_refused(store: Store) -> None:
    refused = await store.get(await store.open(), "é" * 200)
    assert isinstance(refused, Err)
    assert "1024" in refused.value.value


async def test_increments_of_several_hosts_add_up(nats_server: str, lattice: str) -> None:
    stores: list[Store] = []
    connections = [await Connection.connect(ConnectionSettings(urls=(nats_server,)), timeout=5) for _ in range(3)]
    for connection in connections:
        runner = ProviderRunner(KeyValueNats(), context(lattice, connection))
        await runner.start()
        stores.append(Store(runner))
    buckets = [await each.open() for each in stores]
    pairs = list(zip(stores, buckets, strict=True)) * 20
    results = await asyncio.gather(*(each.increment(bucket, "n", 1) for each, bucket in pairs))
    assert sorted(result.value for result in results) == list(range(1, 61))
    for each, connection in zip(stores, connections, strict=True):
        await each.runner.stop()
        await connection.aclose()


async def test_a_bucket_deleted_by_others_is_made_again(store: Store, lattice: str, connection: Connection) -> None:
    bucket = await store.open()
    await store.set(bucket, "k", b"1")
    await JetStream(connection).call(f"STREAM.DELETE.KV_kv-{lattice}", deadline=soon())
    with pytest.raises(Unavailable):
        await store.get(bucket, "k")
    assert await store.get(bucket, "k") == Ok(None)
    assert await store.set(bucket, "k", b"2") == Ok(None)


async def test_each_operation_has_a_database_span(lattice: str, connection: Connection) -> None:
    recent = RecentSpans()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(recent)
    tracing = Tracing(provider.get_tracer("test"), recent=recent)
    runner = ProviderRunner(KeyValueNats(), context(lattice, connection, tracing))
    await runner.start()
    store = Store(runner)
    bucket = await store.open()
    await store.increment(bucket, "n", 1)
    spans = [span for trace in recent.trace_ids() for span in recent.get(trace)]
    assert [(span.name, span.kind) for span in spans] == [("increment default", "client")]
    assert spans[0].attributes == {
        "db.system.name": "nats",
        "db.operation.name": "increment",
        "db.namespace": "default",
    }
    await runner.stop()


async def test_without_nats_calls_fail_at_once_and_state_survives(tmp_path: Path, lattice: str) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    connection = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=5)
    runner = ProviderRunner(KeyValueNats(), context(lattice, connection))
    await runner.start()
    store = Store(runner)
    bucket = await store.open()
    await store.set(bucket, "k", b"kept")
    port = int(server.url.rpartition(":")[2])
    back = asyncio.Event()
    lost = asyncio.Event()
    connection.listen(lambda up: back.set() if up else lost.set())
    await server.stop()
    await asyncio.wait_for(lost.wait(), 10)
    with pytest.raises(Unavailable):
        await store.get(bucket, "k")
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path, port=port))
    await asyncio.wait_for(back.wait(), 20)
    assert await store.get(bucket, "k") == Ok(b"kept")
    await runner.stop()
    await connection.aclose()
    await server.stop()
