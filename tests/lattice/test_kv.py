"""The contract of buckets, on the bucket in memory and on the one in JetStream, and what only JetStream can do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.bus.kv import Change, KeyValueBucket, modify
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.kv_memory import MemoryBucket
from trellis_lattice.bus.kv_watch import WatchState, parse_delivery
from trellis_lattice.errors import Conflict, NotFound, RequestInvalid


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest_asyncio.fixture(params=["memory", "jetstream", "jetstream-direct"])
async def bucket(request: pytest.FixtureRequest, connection: Connection, lattice: str) -> AsyncIterator[KeyValueBucket]:
    if request.param == "memory":
        yield MemoryBucket()
    else:
        direct = request.param == "jetstream-direct"
        yield await open_bucket(connection, f"BUCKET_{lattice}", deadline=soon(), direct=direct)


async def test_what_is_put_can_be_got_until_it_is_deleted(bucket: KeyValueBucket) -> None:
    assert await bucket.get("a", deadline=soon()) is None
    first = await bucket.put("a", b"1", deadline=soon())
    second = await bucket.put("a", b"\x00\xff", deadline=soon())
    assert second > first
    entry = await bucket.get("a", deadline=soon())
    assert entry is not None
    assert (entry.key, entry.value, entry.revision) == ("a", b"\x00\xff", second)
    await bucket.delete("a", deadline=soon())
    assert await bucket.get("a", deadline=soon()) is None
    await bucket.delete("a", deadline=soon())
    await bucket.put("a", b"", deadline=soon())
    empty = await bucket.get("a", deadline=soon())
    assert empty is not None
    assert empty.value == b""


@pytest.mark.parametrize("purge", [False, True])
async def test_create_only_if_absent(bucket: KeyValueBucket, purge: bool) -> None:
    await bucket.put("a", b"1", deadline=soon(), expected=0)
    with pytest.raises(Conflict):
        await bucket.put("a", b"2", deadline=soon(), expected=0)
    await bucket.delete("a", deadline=soon(), purge=purge)
    await bucket.put("a", b"3", deadline=soon(), expected=0)
    entry = await bucket.get("a", deadline=soon())
    assert entry is not None
    assert entry.value == b"3"


async def test_update_only_the_expected_revision(bucket: KeyValueBucket) -> None:
    first = await bucket.put("a", b"1", deadline=soon())
    second = await bucket.put("a", b"2", deadline=soon(), expected=first)
    for stale in (first, second + 1000):
        with pytest.raises(Conflict):
            await bucket.put("a", b"x", deadline=soon(), expected=stale)
        with pytest.raises(Conflict):
            await bucket.delete("a", deadline=soon(), expected=stale)
    await bucket.delete("a", deadline=soon(), expected=second)
    assert await bucket.get("a", deadline=soon()) is None
    with pytest.raises(Conflict):
        await bucket.put("never", b"x", deadline=soon(), expected=5)


async def test_keys_and_entries_show_what_is_there(bucket: KeyValueBucket) -> None:
    assert await bucket.keys(deadline=soon()) == []
    assert await bucket.entries(deadline=soon()) == {}
    for key in ("b", "a.x/y=z_1", "gone"):
        await bucket.put(key, key.encode(), deadline=soon())
    await bucket.delete("gone", deadline=soon())
    assert await bucket.keys(deadline=soon()) == ["a.x/y=z_1", "b"]
    entries = await bucket.entries(deadline=soon())
    assert {key: entry.value for key, entry in entries.items()} == {"b": b"b", "a.x/y=z_1": b"a.x/y=z_1"}


@pytest.mark.parametrize("key", ["", ".a", "a.", "a b", "a*", "a>", "ü", "a..b", "x" * 2000])
async def test_bad_keys_are_refused(bucket: KeyValueBucket, key: str) -> None:
    with pytest.raises(RequestInvalid):
        await bucket.put(key, b"1", deadline=soon())
    with pytest.raises(RequestInvalid):
        await bucket.get(key, deadline=soon())


class Changes:
    """Collects what a watch reports and waits for it."""

    def __init__(self) -> None:
        self._new: asyncio.Queue[Change] = asyncio.Queue()

    def __call__(self, change: Change) -> None:
        self._new.put_nowait(change)

    async def next(self) -> tuple[str, bytes | None]:
        async with asyncio.timeout(20):
            change = await self._new.get()
        return change.key, change.value

    def rest(self) -> list[tuple[str, bytes | None]]:
        rest = []
        while not self._new.empty():
            change = self._new.get_nowait()
            rest.append((change.key, change.value))
        return rest


async def test_a_watch_reports_what_is_there_and_then_every_change(bucket: KeyValueBucket) -> None:
    await bucket.put("a", b"1", deadline=soon())
    await bucket.put("gone", b"1", deadline=soon())
    await bucket.delete("gone", deadline=soon())
    changes = Changes()
    watch = await bucket.watch(changes, deadline=soon())
    await watch.synced(deadline=soon())
    assert changes.rest() == [("a", b"1")]
    await bucket.put("b", b"2", deadline=soon())
    await bucket.put("a", b"3", deadline=soon())
    await bucket.delete("b", deadline=soon())
    assert [await changes.next() for _ in range(3)] == [("b", b"2"), ("a", b"3"), ("b", None)]
    await watch.aclose()
    await watch.aclose()
    await bucket.put("a", b"4", deadline=soon())
    await bucket.get("a", deadline=soon())
    assert changes.rest() == []


async def test_a_watch_on_an_empty_bucket_is_synced_at_once(bucket: KeyValueBucket) -> None:
    changes = Changes()
    watch = await bucket.watch(changes, deadline=soon())
    await watch.synced(deadline=soon())
    assert changes.rest() == []
    await watch.aclose()


async def test_who_watches_later_hears_the_same_and_who_leaves_takes_nothing_along(bucket: KeyValueBucket) -> None:
    early, late = Changes(), Changes()
    first = await bucket.watch(early, deadline=soon())
    await bucket.put("b", b"1", deadline=soon())
    await bucket.put("gone", b"1", deadline=soon())
    await bucket.delete("gone", deadline=soon())
    await bucket.put("a", b"2", deadline=soon())
    assert [await early.next() for _ in range(4)] == [("b", b"1"), ("gone", b"1"), ("gone", None), ("a", b"2")]
    second = await bucket.watch(late, deadline=soon())
    await second.synced(deadline=soon())
    assert late.rest() == [("b", b"1"), ("a", b"2")]
    await first.aclose()
    await bucket.put("a", b"3", deadline=soon())
    assert await late.next() == ("a", b"3")
    assert early.rest() == []
    await second.aclose()
    third = await bucket.watch(early, deadline=soon())
    await third.synced(deadline=soon())
    assert early.rest() == [("b", b"1"), ("a", b"3")]
    await third.aclose()


async def test_a_watch_survives_a_handler_that_fails(bucket: KeyValueBucket) -> None:
    if isinstance(bucket, MemoryBucket):
        return
    changes = Changes()

    def handler(change: Change) -> None:
        changes(change)
        raise ValueError("bad luck")

    watch = await bucket.watch(handler, deadline=soon())
    await bucket.put("a", b"1", deadline=soon())
    await bucket.put("a", b"2", deadline=soon())
    assert [await changes.next(), await changes.next()] == [("a", b"1"), ("a", b"2")]
    await watch.aclose()


async def test_modify_loses_no_update(bucket: KeyValueBucket) -> None:
    def add_one(value: bytes | None) -> bytes:
        return str(int(value or b"0") + 1).encode()

    await asyncio.gather(*(modify(bucket, "n", add_one, deadline=soon(), attempts=64) for _ in range(20)))
    entry = await bucket.get("n", deadline=soon())
    assert entry is not None
    assert entry.value == b"20"
    assert await modify(bucket, "n", lambda value: value, deadline=soon()) == b"20"
    same = await bucket.get("n", deadline=soon())
    assert same is not None
    assert same.revision == entry.revision
    assert await modify(bucket, "n", lambda value: None, deadline=soon()) is None
    assert await bucket.get("n", deadline=soon()) is None


async def test_modify_gives_up_with_conflict(bucket: KeyValueBucket) -> None:
    class Restless:
        """Someone else always writes first."""

        async def get(self, key: str, *, deadline: float):  # type: ignore[no-untyped-def]
            entry = await bucket.get(key, deadline=deadline)
            await bucket.put(key, b"theirs", deadline=deadline)
            return entry

        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            return getattr(bucket, name)

    with pytest.raises(Conflict):
        await modify(Restless(), "n", lambda value: b"ours", deadline=soon(), attempts=3)  # type: ignore[arg-type]


async def test_two_openers_get_the_same_bucket(connection: Connection, lattice: str) -> None:
    with pytest.raises(NotFound):
        await open_bucket(connection, f"BUCKET_{lattice}", deadline=soon(), create=False)
    one, two = await asyncio.gather(*(open_bucket(connection, f"BUCKET_{lattice}", deadline=soon()) for _ in range(2)))
    await one.put("a", b"1", deadline=soon())
    assert await two.keys(deadline=soon()) == ["a"]


async def test_a_large_bucket_is_read_completely(connection: Connection, lattice: str) -> None:
    bucket = await open_bucket(connection, f"BUCKET_{lattice}", deadline=soon())
    value = b"x" * 10_000
    await asyncio.gather(*(bucket.put(f"k{n:04}", value, deadline=soon(30)) for n in range(1000)))
    entries = await bucket.entries(deadline=soon(30))
    assert sorted(entries) == [f"k{n:04}" for n in range(1000)]
    assert all(entry.value == value for entry in entries.values())


async def test_a_watch_is_right_again_after_the_server_was_away(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    settings = NatsServerSettings(tmp_path, port=int(server.url.rpartition(":")[2]))
    watcher = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=5)
    bucket = await open_bucket(watcher, "B", deadline=soon())
    for key in ("kept", "changed", "deleted"):
        await bucket.put(key, b"old", deadline=soon())
    changes = Changes()
    watch = await bucket.watch(changes, deadline=soon())
    await watch.synced(deadline=soon())
    assert sorted(key for key, _ in changes.rest()) == ["changed", "deleted", "kept"]
    lost, back = asyncio.Event(), asyncio.Event()
    watcher.listen(lambda up: back.set() if up else lost.set())

    await server.stop()
    async with asyncio.timeout(20):
        await lost.wait()
    server = await EmbeddedNats.start(settings)
    writer = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=5)
    theirs = await open_bucket(writer, "B", deadline=soon())
    await theirs.put("changed", b"new", deadline=soon())
    await theirs.delete("deleted", deadline=soon())
    await theirs.put("added", b"new", deadline=soon())
    seen = {await changes.next() for _ in range(3)}
    assert seen == {("changed", b"new"), ("deleted", None), ("added", b"new")}
    async with asyncio.timeout(20):
        await back.wait()
    await watch.synced(deadline=soon(20))
    assert changes.rest() == []
    await watch.aclose()
    await writer.aclose()
    await watcher.aclose()
    await server.stop()


@given(
    runs=st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.binary(max_size=2))), max_size=12),
        max_size=4,
    )
)
def test_whatever_was_missed_a_watcher_ends_with_the_truth(
    runs: list[list[tuple[str, bytes | None]]],
) -> None:
    """Each run is what happened while nobody watched; a restart shows the newest message of each key."""
    state, reported, truth, revision = WatchState(), {}, {}, 0
    newest: dict[str, tuple[int, bytes | None]] = {}
    for writes in runs:
        for key, value in writes:
            revision += 1
            newest[key] = (revision, value)
            truth[key] = value
        state.restart()
        changes = []
        for number, (key, (rev, value)) in enumerate(sorted(newest.items(), key=lambda item: item[1][0]), 1):
            assert state.is_next(number)
            changes.append(state.receive(number, key, value, rev))
        for change in [*changes, *state.complete()]:
            if change is not None:
                assert reported.get(change.key) is not None or change.value is not None
                reported[change.key] = change.value
        assert {k: v for k, v in reported.items() if v is not None} == {k: v for k, v in truth.items() if v is not None}


def test_both_forms_of_a_delivery_subject_are_read() -> None:
    assert parse_delivery("$JS.ACK.KV_B.cons.1.42.7.1700000000000000000.3") == (42, 7, 3)
    assert parse_delivery("$JS.ACK._.ACCHASH.KV_B.cons.1.42.7.1700000000000000000.3.rnd") == (42, 7, 3)
    assert parse_delivery("_INBOX.x") is None
    assert parse_delivery("$JS.ACK.a.b.c.d.e.f.g") is None
