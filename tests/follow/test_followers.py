"""Who follows and what they are told, without a lattice; and what peers send, checked."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice.errors import PeerMisbehaved, RequestInvalid
from trellis_lattice.follow import subjects
from trellis_lattice.follow.followers import MAX_BATCH, MAX_BYTES, MAX_FOLLOWERS, MAX_LEASE, Batch, Followers, Ring
from trellis_lattice.follow.records import LEVELS, CallFilter, CallRecord, LogFilter, LogRecord, cut

LINE = LogRecord(1_700_000_000_000_000_000, "NA", "echo", "stdout", "info", "hello", "ab" * 16)
CALL = CallRecord(
    time=1,
    host="NA",
    source="web",
    target="kv",
    link_name="default",
    interface="wasi:keyvalue/store@0.2.0-draft",
    function="get",
    route="lattice",
    duration=1200,
    outcome="ok",
    request_bytes=9,
    response_bytes=44,
)
EVERYTHING = LogFilter()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def offer(followers: Followers[LogFilter], record: LogRecord = LINE) -> bool:
    return followers.offer(lambda wants: record.to_wire() if wants.admits(record) else None)


def test_the_golden_wire_of_records_requests_and_batches() -> None:
    """docs/protocol.md has these texts."""
    assert json.dumps(LINE.to_wire()) == (
        '{"time": 1700000000000000000, "host": "NA", "component": "echo", "source": "stdout", "level": "info", '
        f'"message": "hello", "trace_id": "{"ab" * 16}"}}'
    )
    assert json.dumps(CALL.to_wire()) == (
        '{"time": 1, "host": "NA", "source": "web", "target": "kv", "link_name": "default", '
        '"interface": "wasi:keyvalue/store@0.2.0-draft", "function": "get", "route": "lattice", "duration": 1200, '
        '"outcome": "ok", "message": "", "trace_id": "", "request_bytes": 9, "response_bytes": 44}'
    )
    assert json.dumps(LogFilter(frozenset({"echo"}), level="warn", since=60).to_wire()) == (
        '{"level": "warn", "since": 60, "limit": 1000, "components": ["echo"], "hosts": []}'
    )
    assert json.dumps(CallFilter(frozenset({"kv"}), "store.get", True).to_wire()) == (
        '{"ids": ["kv"], "function": "store.get", "payloads": true}'
    )
    assert (
        Batch("x", ('{"a":1}', '{"a":2}'), 3).encode("NA")
        == b'{"host": "NA", "dropped": 3,"records":[{"a":1},{"a":2}]}'
    )
    assert subjects.recent("default", subjects.LOGS) == "trellis.v1.default.recent.logs"
    assert subjects.follow("default", subjects.CALLS) == "trellis.v1.default.follow.calls"


def test_a_follower_hears_until_its_lease_is_over() -> None:
    followers: Followers[LogFilter] = Followers()
    assert not offer(followers)
    assert followers.renew("a", EVERYTHING, 10.0, now=0.0)
    assert offer(followers)
    [batch] = followers.take()
    assert (batch.to, len(batch.records), batch.dropped) == ("a", 1, 0)
    assert followers.take() == []
    assert followers.renew("a", LogFilter(level="error"), 10.0, now=5.0)
    assert not offer(followers)
    assert followers.expire(14.9) == 15.0
    assert followers.expire(15.0) is None
    assert len(followers) == 0


def test_a_lease_of_nothing_ends_it_and_a_long_one_is_cut() -> None:
    followers: Followers[LogFilter] = Followers()
    followers.renew("a", EVERYTHING, 1e9, now=0.0)
    assert followers.expire(0.0) == MAX_LEASE
    followers.renew("a", EVERYTHING, 0.0, now=1.0)
    assert len(followers) == 0


def test_there_are_only_so_many_followers() -> None:
    followers: Followers[LogFilter] = Followers()
    assert all(followers.renew(f"f{n}", EVERYTHING, 10.0, now=0.0) for n in range(MAX_FOLLOWERS))
    assert not followers.renew("one more", EVERYTHING, 10.0, now=1.0)
    assert followers.renew("f0", EVERYTHING, 10.0, now=1.0)
    assert followers.renew("one more", EVERYTHING, 10.0, now=10.5)


def test_what_comes_too_fast_is_counted() -> None:
    followers: Followers[LogFilter] = Followers()
    followers.renew("a", EVERYTHING, 10.0, now=0.0)
    for _ in range(MAX_BATCH + 7):
        offer(followers)
    [batch] = followers.take()
    assert (len(batch.records), batch.dropped) == (MAX_BATCH, 7)


@given(st.lists(st.integers(0, 60_000), max_size=12))
def test_a_batch_always_fits(sizes: list[int]) -> None:
    followers: Followers[LogFilter] = Followers()
    followers.renew("a", EVERYTHING, 10.0, now=0.0)
    for size in sizes:
        offer(followers, replace(LINE, message="ü" * size))
    batches = followers.take()
    assert sum(len(batch.records) + batch.dropped for batch in batches) == len(sizes)
    assert all(len(batch.encode("NA")) < MAX_BYTES + 4096 for batch in batches)


@given(st.lists(st.integers(0, 50), max_size=200), st.integers(1, 20), st.integers(1, 300), st.integers(1, 10))
def test_a_ring_keeps_the_newest_within_its_bounds(sizes: list[int], capacity: int, size: int, limit: int) -> None:
    ring: Ring[LogRecord] = Ring(capacity, size)
    records = [replace(LINE, time=number) for number in range(len(sizes))]
    for record, each in zip(records, sizes, strict=True):
        ring.append(record, each)
    kept, more = ring.newest(1000, lambda record: True)
    assert kept == records[len(records) - len(ring) :]
    assert not more
    assert len(ring) <= max(1, capacity)
    assert len(ring) <= 1 or sum(sizes[len(records) - len(ring) :]) <= size
    few, more = ring.newest(limit, lambda record: True)
    assert few == kept[-limit:]
    assert more is (len(kept) > limit)


def test_log_filters() -> None:
    assert LogFilter(level="info").admits(LINE)
    assert not LogFilter(level="warn").admits(LINE)
    assert LogFilter(frozenset({"echo", "x"})).admits(LINE)
    assert not LogFilter(frozenset({"x"})).admits(LINE)


@pytest.mark.parametrize("function", ["", "get", "store.get", "wasi:keyvalue/store.get"])
def test_a_call_is_wanted_by_its_ends_and_its_function(function: str) -> None:
    assert CallFilter(frozenset({"web"}), function).admits(CALL)
    assert CallFilter(frozenset({"kv"}), function).admits(CALL)
    assert not CallFilter(frozenset({"other"}), function).admits(CALL)
    assert not CallFilter(frozenset({"kv"}), "set").admits(CALL)
    assert not CallFilter(frozenset({"kv"}), "ore.get").admits(CALL)


@given(json_values)
def test_whatever_a_peer_sends_is_read_or_refused(wire: Any) -> None:
    for read in (LogFilter.from_wire, CallFilter.from_wire):
        with suppress(RequestInvalid):
            read(wire)
    for told in (LogRecord.from_wire, CallRecord.from_wire):
        with pytest.raises(PeerMisbehaved):
            told(wire)


@given(st.sampled_from(LEVELS), st.text(max_size=50), st.integers(0, 2**63))
def test_records_come_back_as_they_went(level: str, message: str, time: int) -> None:
    record = replace(LINE, level=level, message=message, time=time)
    assert LogRecord.from_wire(json.loads(json.dumps(record.to_wire()))) == record
    call = replace(CALL, message=message, args=message, time=time)
    assert CallRecord.from_wire(json.loads(json.dumps(call.to_wire()))) == call
    wants = LogFilter(frozenset({"a"}), frozenset({"NA"}), level, 5.0, 7)
    assert LogFilter.from_wire(json.loads(json.dumps(wants.to_wire()))) == wants


def test_long_texts_are_cut() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…"
