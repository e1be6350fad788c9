"""A policy service decides what may run; a config service gives credentials."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.fixtures import components
from tests.host.signing import SUBJECT, signed
from tests.host.support import Operator, eventually, image, running_host, soon
from trellis_host.runtime.admission import revocation
from trellis_host.runtime.policy import PolicyService
from trellis_host.settings import PolicySettings
from trellis_host.state import ComponentSpec, HostState
from trellis_lattice.bus.connection import Connection, Message
from trellis_lattice.control.policy import (
    ComponentRequest,
    Kind,
    PolicyDecision,
    PolicyHost,
    PolicyRequest,
    ProviderRequest,
)
from trellis_lattice.errors import Denied, TrellisError
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Provider, provides, u64


@provides("test:waiter/provider@0.1.0")
class Waiter(Provider):
    async def wait(self, ms: u64) -> u64:
        return ms


class Service:
    """A policy service: permits what `permits` says, and remembers what it was asked."""

    def __init__(self, connection: Connection, lattice: str) -> None:
        self.settings = PolicySettings(f"policy.{lattice}", f"policy.{lattice}.changes", timeout=0.5)
        self.permits: Callable[[dict[str, Any]], bool] = lambda request: True
        self.asked: list[dict[str, Any]] = []
        self._connection = connection
        self._tasks: set[asyncio.Task[None]] = set()

    def receive(self, message: Message) -> None:
        request = json.loads(message.data)
        self.asked.append(request)
        answer = {"requestId": request["requestId"], "permitted": self.permits(request), "message": "house rules"}
        task = asyncio.create_task(self._connection.publish(message.reply, json.dumps(answer).encode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def change(self, request_id: str, *, permitted: bool) -> None:
        decision = PolicyDecision(request_id=request_id, permitted=permitted, message="new rules")
        await self._connection.publish(self.settings.changes_subject or "", decision.to_json())


@pytest_asyncio.fixture
async def service(connection: Connection, lattice: str) -> AsyncIterator[Service]:
    service = Service(connection, lattice)
    await connection.subscribe(service.settings.subject, service.receive)
    await connection.flush(deadline=soon())
    yield service


async def test_what_the_service_is_asked(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, service: Service
) -> None:
    kinds = {"settings_more": {"policy": service.settings}, "find_provider": lambda reference: Waiter}
    reference = image(tmp_path, "echo", signed(components.echo()))
    async with running_host(nats_server, lattice, tmp_path, labels={"zone": "a"}, **kinds) as one:
        await operator.start_component(one, "echo", reference, count=3, annotations={"k": "v"})
        await operator.start_provider(one, "waiter", "python:waiter")
        for _ in range(2):
            assert await operator.call("echo", "test:echo/echo@0.1.0", "text", ECHO, "you") is not None

    component, provider, invocation = service.asked
    target = {
        "componentId": "echo",
        "imageRef": reference,
        "maxInstances": 3,
        "annotations": {"k": "v"},
        "claims": component["request"]["claims"],
    }
    assert {key: component[key] for key in ("kind", "version", "request")} == {
        "kind": "startComponent",
        "version": "v1",
        "request": target,
    }
    assert component["host"]["publicKey"] == one.state.host_id
    assert component["host"]["lattice"] == lattice
    assert component["host"]["labels"]["zone"] == "a"
    assert target["claims"]["publicKey"] == SUBJECT.public
    assert provider["kind"] == "startProvider"
    assert provider["request"] == {
        "providerId": "waiter",
        "imageRef": "python:waiter",
        "annotations": {},
        "claims": None,
    }
    assert invocation["kind"] == "performInvocation"
    assert invocation["request"] == {"interface": "test:echo/echo@0.1.0", "function": "text", "target": target}


ECHO = FuncType((("text", Primitive.STRING),), Primitive.STRING)


async def test_what_is_denied_does_not_start_and_is_not_called(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, service: Service
) -> None:
    service.permits = lambda request: request["request"].get("componentId") == "fine"
    reference = image(tmp_path, "echo", components.echo())
    async with running_host(nats_server, lattice, tmp_path, settings_more={"policy": service.settings}) as one:
        await operator.scale(one, "echo", reference)
        failed = await operator.heard("component_scale_failed", component_id="echo")
        await operator.start_component(one, "fine", reference)
        with pytest.raises(Denied, match="house rules"):
            await operator.call("fine", "test:echo/echo@0.1.0", "text", ECHO, "you")

    assert isinstance(failed.event.exception, Denied)  # type: ignore[union-attr]
    assert "house rules" in failed.data["error"]


async def test_a_denied_provider_says_so(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, service: Service
) -> None:
    service.permits = lambda request: False
    kinds = {"settings_more": {"policy": service.settings}, "find_provider": lambda reference: Waiter}
    async with running_host(nats_server, lattice, tmp_path, **kinds) as one:
        starting = asyncio.create_task(operator.start_provider(one, "waiter", "python:waiter"))
        failed = await operator.heard("provider_start_failed", provider_id="waiter")
        starting.cancel()

    assert isinstance(failed.event.exception, Denied)  # type: ignore[union-attr]


async def test_what_is_no_longer_permitted_is_stopped(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, service: Service
) -> None:
    kinds = {"settings_more": {"policy": service.settings}, "find_provider": lambda reference: Waiter}
    reference = image(tmp_path, "echo", components.echo())
    async with running_host(nats_server, lattice, tmp_path, **kinds) as one:
        await operator.start_component(one, "echo", reference)
        await operator.start_provider(one, "waiter", "python:waiter")
        for each in tuple(service.asked):
            await operator.connection.publish(service.settings.changes_subject or "", b"not JSON")
            await service.change("of nobody", permitted=False)
            await service.change(each["requestId"], permitted=False)
        await operator.heard("component_scaled", component_id="echo", max_instances=0)
        await operator.heard("provider_stopped", provider_id="waiter")
        await operator.scale(one, "echo", reference)
        failed = await operator.heard("component_scale_failed", component_id="echo")
        await service.change(service.asked[0]["requestId"], permitted=True)
        await operator.start_component(one, "echo", reference)

    assert "new rules" in failed.data["error"]
    assert len(service.asked) == 2  # what was decided is not asked again


def test_what_is_only_being_launched_is_stopped_too() -> None:
    def asked(id: str, image: str) -> PolicyRequest:
        body = ComponentRequest(component_id=id, image_ref=image, max_instances=1)
        host = PolicyHost(public_key="N", lattice="default", labels={})
        return PolicyRequest(request_id="1", kind=Kind.START_COMPONENT, request=body, host=host)

    state = HostState("N", {})
    spec = ComponentSpec("echo", "r:1", 1)
    state.scale(spec)
    assert revocation(state, asked("other", "r:1")) is None
    assert revocation(state, asked("echo", "r:1")) is not None
    assert state.component_ready(spec) is not None
    assert state.components == []

    state = HostState("N", {})
    state.scale(spec)
    state.component_ready(spec)
    assert revocation(state, asked("echo", "r:2")) is None  # something else runs under that id
    assert revocation(state, asked("echo", "r:1")) is not None
    assert state.components == []


async def test_no_answer_is_a_refusal(connection: Connection, lattice: str) -> None:
    host = PolicyHost(public_key="N", lattice=lattice, labels={})
    body = ProviderRequest(provider_id="p", image_ref="r")
    numbers = iter(range(1000))

    def policy(subject: str) -> PolicyService:
        settings = PolicySettings(subject, timeout=0.2)
        return PolicyService(
            connection, settings, lambda: host, new_id=lambda: str(next(numbers)), revoked=lambda request: None
        )

    async def send(message: Message, payload: bytes) -> None:
        await connection.publish(message.reply, payload)

    answering: list[asyncio.Task[None]] = []
    for subject, answer in ((f"{lattice}.silent", None), (f"{lattice}.junk", b"junk"), (f"{lattice}.none", b"{}")):

        def receive(message: Message, answer: bytes | None = answer) -> None:
            if answer is not None:
                answering.append(asyncio.create_task(send(message, answer)))

        await connection.subscribe(subject, receive)
    await connection.flush(deadline=soon())
    for subject in ("nobody", "silent", "junk", "none"):
        with pytest.raises(Denied, match="could not be asked"):
            await policy(f"{lattice}.{subject}").permit(Kind.START_PROVIDER, body, "provider p")
    with pytest.raises(TrellisError):
        policy("with blanks and *")


def test_the_wire_of_a_question() -> None:
    recorded = {
        "requestId": "id",
        "kind": "startProvider",
        "version": "v1",
        "request": {"providerId": "p", "imageRef": "r", "annotations": {}, "claims": None},
        "host": {"publicKey": "N", "lattice": "default", "labels": {}},
    }
    request = PolicyRequest.from_json(json.dumps(recorded))
    assert json.loads(request.to_json()) == recorded


@pytest.mark.parametrize("answer", [b"", b"junk", b'{"registryCredentials":{"r.example":{"username":"u"}}}'])
async def test_a_config_service_gives_credentials_or_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, answer: bytes
) -> None:
    asked: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    def receive(message: Message) -> None:
        asked.append(json.loads(message.data))
        tasks.append(asyncio.create_task(operator.connection.publish(message.reply, answer)))

    await operator.connection.subscribe(f"wasmbus.cfg.{lattice}.req", receive)
    await operator.connection.flush(deadline=soon())
    async with running_host(nats_server, lattice, tmp_path, settings_more={"config_service": True}) as one:
        await eventually(lambda: asked)
        credential = await one.registries.find("r.example")

    assert asked[0]["labels"]["host.impl"] == "trellis"
    assert (credential is not None) == answer.startswith(b"{")
