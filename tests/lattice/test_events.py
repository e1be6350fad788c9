"""Events in v1's exact JSON, and events nobody knows."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice import events
from trellis_lattice.bus.connection import Connection
from trellis_lattice.events.feed import EventPublisher, listen

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "examples" / "events.json").read_text())
KINDS = sorted({example["kind"] for example in RECORDED})
LINK_ID = {"source_id": "a", "name": "default", "wit_namespace": "wasi", "wit_package": "http"}


def test_every_kind_is_recorded() -> None:
    assert set(KINDS) == set(events.EVENTS)


@pytest.mark.parametrize("example", RECORDED, ids=lambda example: str(example["kind"]))
def test_recorded_events_survive_both_directions(example: dict[str, Any]) -> None:
    kind = example["kind"]
    envelope = {
        "specversion": "1.0",
        "id": "01948c1e-6d5b-7f0e-8a33-0c6f1a2b3c4d",
        "type": f"com.wasmcloud.lattice.{kind}",
        "source": "NDX",
        "datacontenttype": "application/json",
        "time": "2025-05-31T12:00:00.123456Z",
        "data": example["data"],
    }
    received = events.parse(json.dumps(envelope).encode())
    assert received is not None
    assert isinstance(received.event, events.EVENTS[kind])
    time = datetime(2025, 5, 31, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    assert json.loads(events.build(received.event, source="NDX", id=received.id, time=time)) == envelope


def test_absent_parts_are_left_out() -> None:
    scaled = events.ComponentScaled(component_id="c", host_id="N", image_ref="r", max_instances=0, annotations={})
    assert set(scaled.to_data()) == {"component_id", "host_id", "image_ref", "max_instances", "annotations"}
    deleted = events.LinkDeleted(source_id="a", wit_namespace="wasi", wit_package="http")
    assert set(deleted.to_data()) == set(LINK_ID)


def wrapped(kind: str, data: object) -> bytes:
    return json.dumps({"type": f"com.wasmcloud.lattice.{kind}", "source": "N", "id": "1", "data": data}).encode()


def test_unknown_kinds_and_malformed_data_are_envelopes_without_event() -> None:
    unknown = events.parse(wrapped("component_teleported", {"x": 1}))
    assert unknown is not None
    assert (unknown.kind, unknown.source, unknown.data, unknown.event) == ("component_teleported", "N", {"x": 1}, None)
    malformed = events.parse(wrapped("config_set", {"config_name": 7}))
    assert malformed is not None
    assert malformed.event is None


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(KINDS), ANY_JSON)
def test_no_data_breaks_the_parser(kind: str, data: object) -> None:
    assert events.parse(wrapped(kind, data)) is not None


@given(st.binary(max_size=100) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_no_payload_breaks_the_parser(payload: bytes) -> None:
    events.parse(payload)


async def test_published_events_are_heard(connection: Connection, lattice: str) -> None:
    heard: asyncio.Queue[events.LatticeEvent] = asyncio.Queue()
    only: list[str] = []
    await listen(connection, lattice, heard.put_nowait)
    await listen(connection, lattice, lambda event: only.append(event.kind), kind="config_set")
    publisher = EventPublisher(connection, lattice, "NDX", clock=lambda: datetime(2025, 1, 1, tzinfo=UTC))
    assert await publisher.publish(events.ConfigDeleted(config_name="a"))
    assert await publisher.publish(events.ConfigSet(config_name="b"))
    async with asyncio.timeout(10):
        first, second = await heard.get(), await heard.get()
    assert first.event == events.ConfigDeleted(config_name="a")
    assert (first.source, first.time) == ("NDX", "2025-01-01T00:00:00.000000Z")
    assert second.event == events.ConfigSet(config_name="b")
    assert only == ["config_set"]


async def test_without_a_connection_an_event_is_lost_not_raised(connection: Connection, lattice: str) -> None:
    publisher = EventPublisher(connection, lattice, "NDX")
    await connection.aclose()
    assert not await publisher.publish(events.ConfigSet(config_name="b"))
