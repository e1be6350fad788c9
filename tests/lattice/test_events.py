"""Events in v1's exact JSON, and events nobody knows."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice import events
from trellis_lattice.bus.connection import Connection
from trellis_lattice.events.feed import EventPublisher, listen

LINK = {
    "source_id": "a",
    "target": "b",
    "name": "default",
    "wit_namespace": "wasi",
    "wit_package": "http",
    "interfaces": ["incoming-handler"],
    "source_config": ["c"],
    "target_config": [],
}
LINK_ID = {key: LINK[key] for key in ("source_id", "name", "wit_namespace", "wit_package")}
SCALED = {"component_id": "c", "host_id": "N", "image_ref": "r", "max_instances": 3, "annotations": {"k": "v"}}
HEALTH = {"host_id": "N", "provider_id": "p"}
GOLDEN: dict[str, dict[str, Any]] = {
    "host_started": {"friendly_name": "x", "labels": {"a": "b"}, "uptime_seconds": 0, "version": "1.9.2"},
    "host_heartbeat": {
        "host_id": "N",
        "friendly_name": "x",
        "version": "1.9.2",
        "uptime_human": "30s",
        "uptime_seconds": 30,
        "labels": {},
        "components": [
            {"id": "c", "image_ref": "r", "annotations": {}, "revision": 0, "max_instances": 4, "limits": None}
        ],
        "providers": [{"id": "p", "image_ref": "r", "annotations": {}, "revision": 0}],
    },
    "host_stopped": {"labels": {"a": "b"}},
    "labels_changed": {"host_id": "N", "labels": {}},
    "component_scaled": SCALED,
    "component_scale_failed": {**SCALED, "error": "no such image"},
    "provider_started": {"provider_id": "p", "host_id": "N", "image_ref": "r", "annotations": {}},
    "provider_start_failed": {
        "provider_id": "p",
        "provider_ref": "r",
        "host_id": "N",
        "error": "bad",
        "link_name": "default",
    },
    "provider_stopped": {
        "host_id": "N",
        "provider_id": "p",
        "annotations": {},
        "reason": "stop",
        "instance_id": "i",
        "public_key": "",
        "link_name": "default",
    },
    "health_check_passed": HEALTH,
    "health_check_failed": HEALTH,
    "health_check_status": HEALTH,
    "linkdef_set": LINK,
    "linkdef_set_failed": {**LINK, "error": "conflict"},
    "linkdef_deleted": {**LINK_ID, "target": "b", "interfaces": ["incoming-handler"]},
    "config_set": {"config_name": "c"},
    "config_deleted": {"config_name": "c"},
}


def test_every_kind_is_recorded() -> None:
    assert set(GOLDEN) == set(events.EVENTS)


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_recorded_events_survive_both_directions(kind: str) -> None:
    envelope = {
        "specversion": "1.0",
        "id": "01948c1e-6d5b-7f0e-8a33-0c6f1a2b3c4d",
        "type": f"com.wasmcloud.lattice.{kind}",
        "source": "NDX",
        "datacontenttype": "application/json",
        "time": "2025-05-31T12:00:00.123456Z",
        "data": GOLDEN[kind],
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


@given(st.sampled_from(sorted(GOLDEN)), ANY_JSON)
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
