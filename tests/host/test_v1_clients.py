"""What a client of wasmCloud v1 sees: the very bytes of control replies (lattice-protocol 1.4 to 1.8), and garbage."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import components
from tests.host.support import Operator, eventually, image, running_host, soon
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.control import host, label
from trellis_provider_sdk import Provider, provides, u64


@provides("test:waiter/provider@0.1.0")
class Waiter(Provider):
    async def wait(self, ms: u64) -> u64:
        return ms


class Client:
    """Speaks v1 in plain JSON."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._root = f"wasmbus.ctl.v1.{operator.lattice}"

    async def ask(self, subject: str, request: Any = None) -> dict[str, Any]:
        payload = request if isinstance(request, bytes) else b"" if request is None else json.dumps(request).encode()
        answer = await self._operator.connection.request(f"{self._root}.{subject}", payload, deadline=soon())
        read = json.loads(answer.data)
        assert isinstance(read, dict)
        return read

    async def tells(self, subject: str, request: Any = None) -> tuple[bool, str, Any]:
        answer = await self.ask(subject, request)
        return answer["success"], answer["message"], answer.get("response")


async def test_the_replies_are_those_of_v1(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    client = Client(operator)
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Waiter) as one:
        me = one.state.host_id
        echo = image(tmp_path, "echo", components.echo())
        unsupported = (False, "unsupported subject", None)
        assert await client.tells(f"host.dance.{me}") == unsupported
        assert await client.tells(f"component.dance.{me}") == unsupported
        assert await client.tells("config.put.with.dots", {}) == unsupported
        assert await client.tells(f"host.stop.{me}", {"host_id": "NOTME", "timeout": 1}) == (
            False,
            "invalid host_id [NOTME]",
            None,
        )

        assert await client.tells(f"label.put.{me}", {"key": "zone", "value": "a"}) == (
            True,
            "successfully put label",
            None,
        )
        assert await client.tells(f"label.put.{me}", {"key": "HostCore.os", "value": "a"}) == (
            False,
            "hostcore.* labels cannot be set dynamically",
            None,
        )
        assert await client.tells(f"label.del.{me}", {"key": "zone"}) == (True, "successfully deleted label", None)
        assert await client.tells(f"label.del.{me}", {"key": "zone"}) == (
            True,
            "successfully deleted label (no such label)",
            None,
        )

        scale = {"component_id": "echo", "component_ref": echo, "count": 4}
        assert await client.tells(f"component.scale.{me}", scale) == (True, "", None)
        await operator.heard("component_scaled", component_id="echo")
        _, message, _ = await client.tells(f"component.scale.{me}", {**scale, "component_ref": "file:///other"})
        assert message.startswith("Requested to scale existing component to a different image reference:")
        await operator.heard("component_scaled", component_id="echo")
        update = {"component_id": "nobody", "new_component_ref": echo}
        assert await client.tells(f"component.update.{me}", update) == (False, "component nobody not found", None)
        assert await client.tells(f"component.update.{me}", {**update, "component_id": "echo"}) == (
            True,
            f"component echo already updated to {echo}",
            None,
        )

        start = {"provider_id": "waiter", "provider_ref": "x", "host_id": me, "config": [], "annotations": {}}
        assert await client.tells(f"provider.start.{me}", start) == (True, "successfully started provider", None)
        assert await client.tells(f"provider.start.{me}", start) == (
            False,
            "provider with that ID is already running",
            None,
        )
        await operator.heard("provider_started", provider_id="waiter")
        stop = {"host_id": me, "provider_ref": "waiter"}  # v1's other name for provider_id
        assert await client.tells(f"provider.stop.{me}", stop) == (True, "successfully stopped provider", None)
        assert await client.tells(f"provider.stop.{me}", stop) == (
            False,
            "provider with that ID is not running",
            None,
        )

        assert await client.tells("config.get.nothing") == (True, "Configuration not found", None)
        assert await client.tells("config.put.cfg", {"a": "b"}) == (True, "successfully put config", None)
        assert await client.tells("config.get.cfg") == (True, "", {"a": "b"})
        assert await client.tells("config.del.cfg") == (True, "successfully deleted config", None)
        success, message, _ = await client.tells("config.put.cfg", {"a": 1})
        assert not success
        assert message.startswith("config data should be a map of string -> string")

        link = {
            "source_id": "a",
            "target": "b",
            "name": "default",
            "wit_namespace": "wasi",
            "wit_package": "keyvalue",
            "interfaces": ["store"],
            "source_config": [],
            "target_config": [],
        }
        assert await client.tells("link.put", link) == (True, "successfully set link", None)
        assert await client.tells("link.put", {**link, "target": "c"}) == (
            False,
            "link already exists with different target, consider deleting the existing link or using a different "
            "link name",
            None,
        )
        assert (await client.tells("link.put", {**link, "source_config": ["nothing"]}))[:2] == (
            False,
            "Failed to validate configuration and secrets. Configuration nothing not found in config store. ",
        )
        await eventually(lambda: one.shared.links.all())
        assert await client.tells("link.get") == (True, "", [link])
        gone = {"source_id": "a", "name": "default", "wit_namespace": "wasi", "wit_package": "keyvalue"}
        assert await client.tells("link.del", gone) == (True, "successfully deleted link", None)
        assert await client.tells("link.del", {**gone, "source_id": "z"}) == (
            True,
            "successfully deleted link (spec doesn't exist)",
            None,
        )
        assert await client.tells("claims.get") == (True, "", [])
        assert await client.tells(f"host.stop.{me}", {"host_id": me, "timeout": 100}) == (
            True,
            "successfully handled stop host",
            None,
        )
        await operator.heard("host_stopped")


GARBAGE = [
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    b'"text"',
    b"{",
    b"[" * 100_000,
    b'{"component_id":["' + b"x" * 500_000 + b'"]}',
]


@pytest.mark.parametrize("payload", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_answered_and_harms_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, payload: bytes
) -> None:
    client = Client(operator)
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        subjects = [f"component.scale.{me}", f"component.update.{me}", f"provider.start.{me}", f"provider.stop.{me}"]
        subjects += [f"label.put.{me}", f"label.del.{me}", "link.put", "link.del", "config.put.cfg"]
        answers = await asyncio.gather(*(client.ask(subject, payload) for subject in subjects))
        for subject in ("component.auction", "provider.auction", "registry.put"):
            await operator.connection.publish(f"wasmbus.ctl.v1.{lattice}.{subject}", payload)

        assert [each["success"] for each in answers] == [False] * len(subjects)
        assert all(each["message"] for each in answers)
        assert (await operator.ask(host.GET, to=me)).unwrap().components == ()


@pytest.mark.parametrize(
    ("reference", "limits"),
    [
        ("file:///a%00b", None),
        ("file:///dev/zero", None),
        ("file:///", None),
        ("http://[::1", None),
        ("http://a b/\x00", None),
        ("file:///x", {"max_memory_limit": "9" * 5000}),
        ("file:///x", {"max_execution_time": "-1"}),
    ],
)
async def test_a_component_that_cannot_be_fetched_fails_alone(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, reference: str, limits: dict[str, str] | None
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.scale(one, "odd", reference, component_limits=limits)
        failed = await operator.heard("component_scale_failed", component_id="odd")
        await operator.start_component(one, "fine", image(tmp_path, "fine", components.add()))

    assert failed.data["error"]
    assert "Error:" not in failed.data["error"]  # a sentence of ours, not the name of an exception


async def test_a_pipe_is_not_an_image(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.scale(one, "odd", (tmp_path / "pipe").as_uri())
        failed = await operator.heard("component_scale_failed", component_id="odd")

    assert "is not a file" in failed.data["error"]


async def test_a_storm_on_one_id_ends_as_the_last_one_says(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    client = Client(operator)
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        images = [image(tmp_path, name, make()) for name, make in (("a", components.echo), ("b", components.add))]
        for number in range(60):
            scale = {
                "component_id": "it",
                "component_ref": images[number % 2],
                "count": number % 4,
                "allow_update": True,
            }
            await client.ask(f"component.scale.{me}", scale)
        await client.ask(f"component.scale.{me}", {"component_id": "it", "component_ref": images[0], "count": 7})
        await operator.heard("component_scaled", component_id="it", max_instances=7)
        await one.workloads.settled()
        inventory = (await operator.ask(host.GET, to=me)).unwrap()

        assert [(each.id, each.max_instances) for each in inventory.components] == [("it", 7)]
        assert [each.spec.max_instances for each in one.workloads.components] == [7]
        await client.ask(f"component.scale.{me}", {"component_id": "it", "count": 0})
        await operator.heard("component_scaled", component_id="it", max_instances=0)
        await one.workloads.settled()
        assert one.workloads.components == []


async def test_an_inventory_larger_than_a_message_breaks_nothing(
    lattice: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trellis_host.self_description.HEARTBEAT_SETTLING", 0.0)
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path / "nats", max_payload=32 * 1024))
    connection = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=5)
    operator = Operator(connection, lattice)
    await operator.start()
    try:
        async with running_host(server.url, lattice, tmp_path) as one:
            me = one.state.host_id
            for number in range(12):
                await operator.ask(label.PUT, label.Label(key=f"key-{number}", value="x" * 4000), me)
            await eventually(lambda: "host_heartbeat was not published" in caplog.text)
            refused = await operator.ask(host.GET, to=me)
            for number in range(12):
                await operator.ask(label.DEL, label.LabelKey(key=f"key-{number}"), me)
            inventory = (await operator.ask(host.GET, to=me)).unwrap()
    finally:
        await operator.invoker.aclose()
        await connection.aclose()
        await server.stop()

    assert not refused.success
    assert "larger than NATS accepts" in refused.message
    assert inventory.host_id == me


ODD_NAMES = ["a.b", "a*b", "a>b", "a b", "*", ">", "", " ", "ä", "a\nb", "\x00", "../x", "x" * 256, "x" * 10_000]


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: repr(name[:8]))
async def test_odd_names_are_refused_with_a_reason_and_harm_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, name: str
) -> None:
    client = Client(operator)
    link = {"source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["x"]}
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        requests: list[tuple[str, Any]] = [
            (f"component.scale.{me}", {"component_id": name, "component_ref": "file:///x", "count": 1}),
            (f"component.update.{me}", {"component_id": name, "new_component_ref": "file:///x"}),
            (f"provider.start.{me}", {"provider_id": name, "provider_ref": "x"}),
            (f"provider.stop.{me}", {"provider_id": name}),
            ("component.auction", {"component_id": name, "component_ref": "x", "constraints": {}}),
            *(("link.put", {**link, key: name}) for key in ("source_id", "target", "name", "wit_package")),
            ("link.put", {**link, "interfaces": [name]}),
            ("link.put", {**link, "source_config": [name]}),
            ("link.del", {"source_id": name, "wit_namespace": "wasi", "wit_package": "keyvalue"}),
        ]
        answers = await asyncio.gather(*(client.ask(subject, request) for subject, request in requests))
        inventory = (await operator.ask(host.GET, to=me)).unwrap()

    assert [each["success"] for each in answers] == [False] * len(requests)
    assert all(each["message"] and len(each["message"]) < 1000 for each in answers)
    assert inventory.components == inventory.providers == ()


async def test_requests_of_any_size_are_answered(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    client = Client(operator)
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        large = await client.ask("config.put.large", {"text": "x" * 1_000_000})
        read = await client.ask("config.get.large")
        labels = await client.ask(f"label.put.{me}", {"key": "k" * 2000, "value": "v"})
        many = await client.ask(
            f"component.scale.{me}",
            {"component_id": "x", "count": 1, "annotations": {str(number): "" for number in range(5000)}},
        )

    assert (large["success"], len(read["response"]["text"])) == (True, 1_000_000)
    assert (labels["success"], many["success"]) == (False, False)
    assert "annotations" in many["message"]


async def test_the_acknowledgement_comes_before_what_it_acknowledges(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """Both come from the host's one connection to the client's one: NATS keeps their order."""
    heard: list[str] = []
    inbox = operator.connection.inbox(lambda message: heard.append("answer"))
    await operator.connection.subscribe(
        f"wasmbus.evt.{lattice}.component_scaled", lambda message: heard.append("event")
    )
    await operator.connection.flush(deadline=soon())
    async with running_host(nats_server, lattice, tmp_path) as one:
        subject = f"wasmbus.ctl.v1.{lattice}.component.scale.{one.state.host_id}"
        echo = image(tmp_path, "echo", components.echo())
        for number in (2, 3, 3, 0, 0):
            request = {"component_id": "echo", "component_ref": echo, "count": number}
            await operator.connection.publish(subject, json.dumps(request).encode(), reply=inbox.subject)
            await eventually(lambda: len(heard) % 2 == 0 and heard)
            assert heard == ["answer", "event"]
            heard.clear()


async def test_what_is_sent_twice_happens_once(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    client = Client(operator)
    link = {"source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["x"]}
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: Waiter) as one:
        me = one.state.host_id
        start = {"provider_id": "waiter", "provider_ref": "x"}
        started = await asyncio.gather(*(client.ask(f"provider.start.{me}", start) for _ in range(5)))
        put = await asyncio.gather(*(client.ask("link.put", link) for _ in range(5)))
        await eventually(one.shared.links.all)
        await operator.heard("provider_started")
        inventory = (await operator.ask(host.GET, to=me)).unwrap()

        assert sorted(each["success"] for each in started) == [False] * 4 + [True]
        assert all(each["success"] for each in put)
        assert len(one.shared.links.all()) == 1
        assert [each.id for each in inventory.providers] == ["waiter"]


async def test_a_scale_by_hand_leaves_a_component_to_its_owner(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    client = Client(operator)
    echo = image(tmp_path, "echo", components.echo())
    async with running_host(nats_server, lattice, tmp_path) as one:
        scale = f"component.scale.{one.state.host_id}"
        owned = {"component_id": "echo", "component_ref": echo, "count": 1, "annotations": {"owner": "wadm"}}
        for count, annotations, expected in (
            (1, {"owner": "wadm"}, {"owner": "wadm"}),
            (2, {}, {"owner": "wadm"}),
            (3, None, {"owner": "wadm"}),
            (4, {"owner": "me"}, {"owner": "me"}),
        ):
            await client.ask(scale, {**owned, "count": count, "annotations": annotations})
            event = await operator.heard("component_scaled", component_id="echo", max_instances=count)
            assert event.data["annotations"] == expected


async def test_one_of_several_hosts_answers_and_all_converge(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """Links, configs and claims are answered by a queue group, pings by everybody (lattice-protocol 1.2)."""
    root, answers = f"wasmbus.ctl.v1.{lattice}", []
    link = {"source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["x"]}
    inbox = operator.connection.inbox(lambda message: answers.append(json.loads(message.data)))
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two") as two,
    ):
        for subject, request in (("link.put", link), ("config.put.c", {"k": "v"}), ("claims.get", None)):
            payload = b"" if request is None else json.dumps(request).encode()
            await operator.connection.publish(f"{root}.{subject}", payload, reply=inbox.subject)
        await eventually(lambda: one.shared.links.all() and two.shared.links.all())
        await operator.connection.publish(f"{root}.host.ping", reply=inbox.subject)
        await eventually(lambda: sum("lattice" in (each.get("response") or ()) for each in answers) == 2)

    assert len(answers) == 5
    assert all(each["success"] for each in answers)
