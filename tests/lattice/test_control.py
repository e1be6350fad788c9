"""Control operations in v1's exact JSON, both directions."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from trellis_lattice import subjects
from trellis_lattice.control import (
    OPERATIONS,
    CtlResponse,
    claims,
    component,
    config,
    find,
    host,
    label,
    link,
    provider,
    registry,
    subscriptions,
)
from trellis_lattice.control.policy import PolicyDecision, PolicyRequest
from trellis_lattice.control.supplemental import SupplementalConfig, SupplementalRequest
from trellis_lattice.errors import Conflict, NotFound, Overloaded, PeerMisbehaved, RequestInvalid, TrellisError
from trellis_lattice.links import ComponentSpec

EXAMPLES = Path(__file__).parent / "examples"


def recorded(name: str) -> list[dict[str, Any]]:
    """Messages as v1 writes them."""
    examples: list[dict[str, Any]] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return examples


def operation_of(example: dict[str, Any]) -> Any:
    noun, _, verb = example["operation"].partition(".")
    return OPERATIONS[noun, verb]


def label_of(example: dict[str, Any]) -> str:
    return str(example.get("operation") or example.get("message") or example.get("key"))


OPEN_MAPS = ("registry.put", "config.put")
"""Requests in which every key is a name."""


@pytest.mark.parametrize("example", recorded("control-requests"), ids=label_of)
def test_recorded_requests_survive_both_directions(example: dict[str, Any]) -> None:
    operation, golden = operation_of(example), example["payload"]
    request = operation.decode_request(json.dumps(golden).encode())
    assert json.loads(operation.encode_request(request)) == golden
    if example["operation"] not in OPEN_MAPS:
        unknown = {**golden, "from_the_future": "x"}
        assert operation.decode_request(json.dumps(unknown).encode()) == request


@pytest.mark.parametrize("example", recorded("control-replies"), ids=label_of)
def test_recorded_replies_survive_both_directions(example: dict[str, Any]) -> None:
    operation, envelope = operation_of(example), example["envelope"]
    response = operation.decode_response(json.dumps(envelope).encode())
    assert json.loads(operation.encode_response(response)) == envelope
    response.unwrap()


@pytest.mark.parametrize("example", recorded("control-refusals"), ids=label_of)
def test_recorded_refusals_become_errors(example: dict[str, Any]) -> None:
    with pytest.raises(TrellisError) as caught:
        operation_of(example).decode_response(json.dumps(example["envelope"]).encode()).unwrap()
    assert (caught.value.message, caught.value.code) == (example["envelope"]["message"], example["error"])


def test_every_operation_is_recorded() -> None:
    asked = {example["operation"] for example in recorded("control-requests")}
    answered = {example["operation"] for example in recorded("control-replies")}
    ours = {"component.prepare", "host.part", "host.stays"}
    assert asked == {op.name for op in OPERATIONS.values() if op.request is not None}
    assert answered | ours == {op.name for op in OPERATIONS.values()}


@pytest.mark.parametrize("example", recorded("state"), ids=label_of)
def test_recorded_state_survives_both_directions(example: dict[str, Any]) -> None:
    payload = json.dumps(example["value"]).encode()
    claimed = example["key"].startswith(claims.CLAIMS_PREFIX)
    value = claims.read_claims(example["key"], payload) if claimed else ComponentSpec.from_json(payload)
    assert json.loads(value.to_json()) == example["value"]


SERVICES = {type.__name__: type for type in (PolicyRequest, PolicyDecision, SupplementalRequest, SupplementalConfig)}


@pytest.mark.parametrize("example", recorded("services"), ids=label_of)
def test_recorded_messages_of_services_survive_both_directions(example: dict[str, Any]) -> None:
    read = SERVICES[example["message"]].from_json(json.dumps(example["value"]))
    assert json.loads(read.to_json()) == example["value"]


def test_an_inventory_tells_what_is_prepared() -> None:
    inventory = host.HostInventory(
        host_id="N", friendly_name="x", labels={}, components=(), providers=(), prepared=("ghcr.io/x/echo:1",)
    )
    assert host.HostInventory.from_json(inventory.to_json()) == inventory
    assert inventory.to_data()["prepared"] == ["ghcr.io/x/echo:1"]


def test_defaults_of_requests() -> None:
    scale = component.SCALE.decode_request(b'{"component_id":" app-echo ","annotations":null}')
    assert (scale.component_id, scale.count, scale.config, scale.allow_update, scale.annotations) == (
        "app-echo", 0, (), False, None,
    )  # fmt: skip
    assert component.SCALE.decode_request(b'{"component_id":"a","count":4294967295}').count == component.UNBOUNDED
    assert provider.STOP.decode_request(b'{"provider_ref":"app-http"}').provider_id == "app-http"
    assert host.STOP.decode_request(b"") == host.StopHost()
    put = link.PUT.decode_request(
        b'{"source_id":"a","target":"b","wit_namespace":"w","wit_package":"p","interfaces":["i"]}'
    )
    assert (put.name, put.source_config, put.target_config) == ("default", (), ())


def test_defaults_of_responses() -> None:
    assert host.PING.decode_response(b'{"success":true,"message":"","response":{"id":"N"}}').unwrap() == host.HostInfo(
        id="N"
    )
    data = {"host_id": "N", "friendly_name": "x", "labels": {}, "actors": [], "providers": []}
    old = json.dumps({"success": True, "message": "", "response": data}).encode()
    inventory = host.GET.decode_response(old).unwrap()
    assert inventory is not None
    assert inventory.components == ()


def test_a_config_that_is_not_there_is_a_success_without_data() -> None:
    response = config.GET.decode_response(b'{"success":true,"message":"Configuration not found"}')
    assert response.success
    assert response.unwrap() is None
    assert json.loads(config.GET.encode_response(CtlResponse.done(config.NOT_FOUND))) == {
        "success": True,
        "message": "Configuration not found",
    }


@pytest.mark.parametrize(
    ("operation", "payload", "text"),
    [
        (component.SCALE, b"", "failed to deserialize component scale command"),
        (component.SCALE, b"{", "failed to deserialize component scale command"),
        (component.SCALE, b'{"component_id":"a.b"}', "is not a component or provider id"),
        (component.SCALE, b'{"component_id":"a","count":-1}', "failed to deserialize component scale command: count"),
        (component.SCALE, b'{"component_id":"a","count":4294967296}', "component scale command: count"),
        (component.SCALE, b'{"component_id":""}', "is not a component or provider id"),
        (link.PUT, b'{"source_id":"a"}', "failed to deserialize link put command: target"),
        (config.PUT, b'{"a":1}', "config data should be a map of string -> string"),
        (config.PUT, b"[]", "config data should be a map of string -> string"),
        (label.PUT, b"\xff\xfe", "failed to deserialize label put command"),
        (component.AUCTION, b'{"component_ref":"r","component_id":"i"}', "component auction command: constraints"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(operation: Any, payload: bytes, text: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        operation.decode_request(payload)
    assert text in caught.value.message


@given(st.sampled_from(sorted(OPERATIONS)), st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_no_payload_breaks_a_decoder(name: tuple[str, str], payload: bytes) -> None:
    operation = OPERATIONS[name]
    for decode in (operation.decode_request, operation.decode_response):
        with contextlib.suppress(RequestInvalid, PeerMisbehaved):
            decode(payload)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(OPERATIONS)), ANY_JSON)
def test_no_json_breaks_a_decoder(name: tuple[str, str], value: Any) -> None:
    operation = OPERATIONS[name]
    payload = json.dumps(value).encode()
    envelope = json.dumps({"success": True, "message": "", "response": value}).encode()
    for decode, data in ((operation.decode_request, payload), (operation.decode_response, envelope)):
        with contextlib.suppress(RequestInvalid, PeerMisbehaved):
            decode(data)


def test_failures_arrive_as_the_class_they_were_raised_as() -> None:
    error = Overloaded("Host N is full.", retry_after=2.5)
    payload = component.SCALE.encode_response(CtlResponse.failed(error))
    seen_by_v1 = {k: v for k, v in json.loads(payload).items() if k != "error"}
    assert seen_by_v1 == {"success": False, "message": "Host N is full."}
    with pytest.raises(Overloaded) as caught:
        component.SCALE.decode_response(payload).unwrap()
    assert caught.value.retry_after == 2.5


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("provider with that ID is already running", Conflict),
        ("provider with that ID is not running", NotFound),
        ("component app-echo not found", NotFound),
        ("policy says no", TrellisError),
    ],
)
def test_failures_of_v1_hosts_find_a_class(text: str, error: type[TrellisError]) -> None:
    payload = json.dumps({"success": False, "message": text}).encode()
    with pytest.raises(error) as caught:
        provider.START.decode_response(payload).unwrap()
    assert caught.value.message == text


@pytest.mark.parametrize("payload", [b"", b"x", b"[]", b"{}", b'{"success":1,"message":""}', b'{"success":true}'])
def test_what_is_no_envelope_is_the_peers_fault(payload: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        host.PING.decode_response(payload)


def test_subjects_and_who_listens() -> None:
    assert component.SCALE.subject("default", "NDX") == "wasmbus.ctl.v1.default.component.scale.NDX"
    assert config.PUT.subject("default", "a-b", prefix="acc.ctl") == "acc.ctl.v1.default.config.put.a-b"
    assert host.PING.subject("default") == "wasmbus.ctl.v1.default.host.ping"
    for wrong in (lambda: host.PING.subject("default", "x"), lambda: component.SCALE.subject("default")):
        with pytest.raises(RequestInvalid):
            wrong()
    root = "wasmbus.ctl.v1.default"
    assert set(subscriptions("default", "NDX")) == {
        (f"{root}.registry.put", ""),
        (f"{root}.host.ping", ""),
        (f"{root}.component.auction", ""),
        (f"{root}.provider.auction", ""),
        (f"{root}.component.*.NDX", ""),
        (f"{root}.provider.*.NDX", ""),
        (f"{root}.label.*.NDX", ""),
        (f"{root}.host.*.NDX", ""),
        (f"{root}.link.*", f"{root}.link"),
        (f"{root}.claims.get", f"{root}.claims"),
        (f"{root}.config.>", f"{root}.config"),
    }


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_subject_finds_its_operation(name: tuple[str, str]) -> None:
    operation = OPERATIONS[name]
    argument = None if operation.argument.value == "nothing" else "NDX"
    parsed = subjects.parse_control(operation.subject("default", argument))
    assert parsed is not None
    assert find(parsed) is operation
    assert find(subjects.ControlSubject("default", operation.noun, "explode", argument)) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (93, "1m 33s"), (3600, "1h"), (93784, "1day 2h 3m 4s"), (31_557_600 * 2, "2years")],
)
def test_uptime_in_words(seconds: int, text: str) -> None:
    assert host.uptime_human(seconds) == text


def test_hostcore_labels_are_protected() -> None:
    with pytest.raises(RequestInvalid, match=r"hostcore\.\* labels cannot be set dynamically"):
        label.check_label("HostCore.os")
    label.check_label("zone")


def test_secrets_are_not_shown() -> None:
    request = registry.PUT.decode_request(b'{"ghcr.io":{"token":"s3cret"}}')
    assert "s3cret" not in repr(request)
    assert json.loads(TypeAdapter(dict[str, registry.RegistryCredential]).dump_json(request, by_alias=True)) == {
        "ghcr.io": {"registryType": "oci", "token": "s3cret"}
    }
