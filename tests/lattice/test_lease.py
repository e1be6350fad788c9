"""Leases: never two holders on any schedule, and real ones in a bucket."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.kv_memory import MemoryBucket
from trellis_lattice.bus.lease import Lease
from trellis_lattice.bus.lease_rules import LeaseRecord, LeaseRules, Look, Wait, Write


class Store:
    """One key with revisions."""

    def __init__(self) -> None:
        self.revision = 0
        self.value: LeaseRecord | None = None
        self.newest = 0

    def write(self, record: LeaseRecord | None, expected: int) -> int | None:
        if expected != self.newest:
            return None
        self.revision += 1
        self.value = record
        self.newest = self.revision if record is not None else 0
        return self.revision


def step(rules: LeaseRules, store: Store, now: float) -> object:
    """Does what the rules say, at once."""
    action = rules.next(now)
    if isinstance(action, Look):
        rules.saw(store.newest, store.value, now)
    elif isinstance(action, Write):
        revision = store.write(rules.record, action.expected)
        if revision is None:
            rules.refused()
        else:
            rules.wrote(revision, now)
    return action


def settle(rules: LeaseRules, store: Store, now: float) -> None:
    for _ in range(5):
        if isinstance(step(rules, store, now), Wait):
            return
    raise AssertionError("does not come to rest")


def test_the_first_takes_it_and_renews_it() -> None:
    store, a, b = Store(), LeaseRules("NA", 1, 1.5), LeaseRules("NB", 1, 1.5)
    settle(a, store, 0.0)
    settle(b, store, 0.0)
    assert (a.held(0.0), b.held(0.0), b.owner) == (True, False, "NA")
    term = a.term
    for tenth in range(1, 100):
        settle(a, store, tenth / 10)
        settle(b, store, tenth / 10)
        assert a.held(tenth / 10)
        assert not b.held(tenth / 10)
    assert a.term == term
    assert store.newest > term


def test_a_dead_holder_is_replaced_after_its_time_and_not_before() -> None:
    store, a, b = Store(), LeaseRules("NA", 1, 1.5), LeaseRules("NB", 1, 1.5)
    settle(a, store, 0.0)
    now = 0.0
    while not b.held(now):
        now += 0.1
        settle(b, store, now)
        assert now < 3
    assert not a.held(now)
    assert b.term > a.term
    settle(a, store, now)
    assert not a.held(now)


def test_the_next_process_of_the_same_host_takes_over_at_once() -> None:
    store, old, new = Store(), LeaseRules("NA", 1, 1.5), LeaseRules("NA", 2, 1.5)
    settle(old, store, 0.0)
    settle(new, store, 0.1)
    assert new.held(0.1)
    settle(old, store, 0.6)
    assert not old.held(0.6)
    settle(new, store, 0.7)
    assert new.held(0.7)


def test_what_was_given_up_is_free_at_once() -> None:
    store, a, b = Store(), LeaseRules("NA", 1, 1.5), LeaseRules("NB", 1, 1.5)
    settle(a, store, 0.0)
    settle(b, store, 0.0)
    store.write(None, a.revision)
    a.gave_up()
    assert not a.held(0.1)
    settle(b, store, 0.6)
    assert b.held(0.6)


def test_a_holder_that_cannot_write_stops_trusting_in_time() -> None:
    store, a = Store(), LeaseRules("NA", 1, 1.5)
    settle(a, store, 0.0)
    for tenth in range(1, 20):
        if isinstance(a.next(tenth / 10), Write):
            a.failed(tenth / 10)
        assert a.held(tenth / 10) is (tenth < 15)


MINUTES = st.floats(-600.0, 600.0)
FATES = ["do", "do", "do", "hint", "lost answer", "lost"]


@settings(max_examples=300)
@given(
    st.tuples(MINUTES, MINUTES, MINUTES),
    st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 1.0), st.sampled_from(FATES)), max_size=60),
)
def test_there_are_never_two_holders(skews: tuple[float, float, float], schedule: list[tuple[int, float, str]]) -> None:
    """Three hosts, whose clocks are minutes apart, are run in any order with any pauses; writes and their answers get
    lost, and anybody may claim that the key is being written."""
    store, now = Store(), 0.0
    hosts = [LeaseRules(f"N{n}", round(1000 + skews[n]), 1.5) for n in range(3)]
    terms: list[int] = []
    for index, pause, fate in schedule:
        now += pause
        rules, mine = hosts[index], now + skews[index]
        if fate == "hint":
            rules.stirred(mine)
        action = rules.next(mine)
        held = rules.held(mine)
        if isinstance(action, Write) and fate.startswith("lost"):
            if fate == "lost answer":
                store.write(rules.record, action.expected)
            rules.failed(mine)
        else:
            step(rules, store, mine)
        if rules.held(mine) and not held:
            terms.append(rules.term)
        assert sum(host.held(now + skew) for host, skew in zip(hosts, skews, strict=True)) <= 1
    assert terms == sorted(terms)


@settings(max_examples=200)
@given(MINUTES, st.floats(0.0, 0.5), st.lists(st.floats(0.01, 0.4), min_size=1, max_size=20))
def test_whoever_hears_the_writes_takes_over_as_early_as_it_may(skew: float, phase: float, pauses: list[float]) -> None:
    """The holder renews for a while and dies; another hears of each write a moment later."""
    store, a, b, now = Store(), LeaseRules("NA", 1, 1.5), LeaseRules("NB", 1, 1.5), phase
    settle(a, store, now)
    settle(b, store, now + skew)
    written = now
    for pause in pauses:
        now += pause
        newest = store.newest
        settle(a, store, now)
        if store.newest != newest:
            written = now
            b.stirred(now + skew)
        settle(b, store, now + 0.051 + skew)
    while not b.held(now + skew):
        action = b.next(now + skew)
        if isinstance(action, Wait):
            now = max(now, action.until - skew) + 1e-6
        else:
            step(b, store, now + skew)
        assert now < written + 3
    assert not a.held(now)
    assert written + 1.5 <= now + 1e-3 <= written + 1.5 + 0.06 + 1e-3


def test_what_is_given_up_and_heard_of_is_taken_at_once() -> None:
    store, a, b = Store(), LeaseRules("NA", 1, 1.5), LeaseRules("NB", 1, 1.5)
    settle(a, store, 0.0)
    settle(b, store, 0.0)
    store.write(None, a.revision)
    a.gave_up()
    b.stirred(0.1)
    settle(b, store, 0.1)
    assert not b.held(0.1)
    settle(b, store, 0.151)
    assert b.held(0.151)


@settings(max_examples=200)
@given(MINUTES, st.floats(0.0, 0.5), st.integers(1, 8), st.integers(0, 2))
def test_whoever_hears_renewals_reads_none_of_them_and_takes_over_as_early_as_it_may(
    skew: float, phase: float, renewals: int, unheard: int
) -> None:
    """The holder renews every half second and dies; the hints of its last renewals are lost."""
    store, a, b, now = Store(), LeaseRules("NA", 1, 1.5), LeaseRules("NB", 1, 1.5), phase
    settle(a, store, now)
    settle(b, store, now + skew)
    looks = 0
    for number in range(renewals + unheard):
        now += a.period
        record = a.renewal()
        a.wrote(store.write(record, a.revision) or 0, now)
        if number < renewals:
            b.stirred(now + skew, record)
            looks += isinstance(b.next(now + skew), Look)
    written = now
    assert looks == 0
    while not b.held(now + skew):
        action = b.next(now + skew)
        now = max(now, action.until - skew) + 1e-6 if isinstance(action, Wait) else now
        step(b, store, now + skew)
        assert not (a.held(now) and b.held(now + skew))
    assert written + 1.5 <= now + 1e-3 <= written + 1.5 + 1e-2 + 2 * a.period * bool(unheard)


def test_a_flood_of_hints_costs_few_looks() -> None:
    store, a, b = Store(), LeaseRules("NA", 1, 1000.0), LeaseRules("NB", 1, 1000.0)
    settle(a, store, 0.0)
    settle(b, store, 0.0)
    looks = 0
    for n in range(1000):
        b.stirred(n / 1000)
        looks += isinstance(step(b, store, n / 1000), Look)
    assert looks <= 20


def test_a_process_whose_clock_went_back_waits_for_the_time_of_its_own_old_record() -> None:
    store, old, new = Store(), LeaseRules("NA", 600_000, 1.5), LeaseRules("NA", 1, 1.5)
    settle(old, store, 0.0)
    settle(new, store, 0.1)
    assert not new.held(0.1)
    settle(new, store, 1.7)
    assert new.held(1.7)


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"holder":"N","boot":1,"ttl":1e9}', b'{"holder":1}', b"\xff"])
def test_a_record_that_cannot_be_read_protects_nobody(value: bytes) -> None:
    assert LeaseRecord.decode(value) is None


def test_records_survive_storage() -> None:
    record = LeaseRecord("NA", 7, 1.5, 12)
    read = LeaseRecord.decode(record.encode())
    assert read == record
    assert read is not None
    assert read.renewal == 12


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


class Heard:
    """Waits for a lease to be had or lost."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[bool] = asyncio.Queue()

    def __call__(self, held: bool) -> None:
        self.changes.put_nowait(held)

    async def says(self, held: bool) -> None:
        async with asyncio.timeout(20):
            assert await self.changes.get() is held


@pytest.mark.parametrize("kind", ["memory", "jetstream"])
async def test_a_lease_goes_from_host_to_host(kind: str, connection: Connection, lattice: str) -> None:
    if kind == "memory":
        buckets = [MemoryBucket()] * 3
    else:
        buckets = [await open_bucket(connection, f"TRELLIS_{lattice}", deadline=soon()) for _ in range(3)]
    heard = [Heard() for _ in range(3)]
    a, b, again = (
        Lease(buckets[n], "lease.test", holder, boot, ttl=0.6, on_change=heard[n])
        for n, (holder, boot) in enumerate([("NA", 1), ("NB", 1), ("NB", 2)])
    )
    a.start()
    await heard[0].says(True)
    b.start()
    assert a.held
    await a.aclose()
    await heard[0].says(False)
    await heard[1].says(True)
    assert b.term > a.term
    again.start()
    await heard[2].says(True)
    await heard[1].says(False)
    assert again.owner == "NB"
    assert again.term > b.term
    for lease in (b, again):
        await lease.aclose()
        await lease.aclose()
    assert await buckets[0].get("lease.test", deadline=soon()) is None


async def test_a_holder_that_vanishes_is_replaced(connection: Connection, lattice: str, nats_server: str) -> None:
    from trellis_lattice.bus.connection import ConnectionSettings

    theirs = await Connection.connect(ConnectionSettings(urls=(nats_server,)), timeout=5)
    first, second = Heard(), Heard()
    bucket = await open_bucket(theirs, f"TRELLIS_{lattice}", deadline=soon())
    a = Lease(bucket, "lease.test", "NA", 1, ttl=0.6, on_change=first)
    b = Lease(
        await open_bucket(connection, f"TRELLIS_{lattice}", deadline=soon()), "lease.test", "NB", 1, ttl=0.6,
        on_change=second,
    )  # fmt: skip
    a.start()
    await first.says(True)
    b.start()
    await theirs.aclose()
    await first.says(False)
    await second.says(True)
    await a.aclose()
    await b.aclose()
