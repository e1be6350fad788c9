"""What the commands of an operator make of what hosts say, without a lattice."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_cli.configs import parse_file, reference, secret_key, secret_name, shown_reference
from trellis_cli.labels import parse_keys, parse_labels, parse_pairs
from trellis_cli.links import LinkState, link_status
from trellis_cli.managed import managed, manager_of, owner_of_config
from trellis_cli.output import Format
from trellis_cli.output.describe import Known, describe_workload, section
from trellis_cli.output.events import event_line, events, summary
from trellis_cli.output.logs import call_line, log_line, stamp
from trellis_cli.output.state import config_document
from trellis_cli.watching import changes, interval, with_interval
from trellis_cli.workloads import choose, image_ref, listed, no_bid
from trellis_lattice.control.host import ComponentDescription, HostInventory, LinkReport, ProviderDescription
from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_lattice.events import LatticeEvent
from trellis_lattice.follow.records import CallRecord, LogRecord
from trellis_lattice.links import Link

LINK = Link(source_id="web", target="page", wit_namespace="wasi", wit_package="http", interfaces=("incoming-handler",))
MANAGED = {"wasmcloud.dev/managed-by": "wadm", "wasmcloud.dev/appspec": "shop"}


def host(id: str, components: tuple[str, ...] = (), providers: tuple[str, ...] = (), **more: Any) -> HostInventory:
    return HostInventory(
        host_id=id,
        friendly_name=f"host-{id}",
        labels={"host.impl": "trellis", **more.pop("labels", {})},
        components=tuple(ComponentDescription(id=c, image_ref="i", max_instances=1) for c in components),
        providers=tuple(ProviderDescription(id=p, image_ref="i") for p in providers),
        **more,
    )


def report(problem: str | None = None) -> LinkReport:
    source, target, namespace, package, name = LINK.key
    return LinkReport(
        provider_id="web",
        source_id=source,
        target=target,
        name=name,
        wit_namespace=namespace,
        wit_package=package,
        problem=problem,
    )


@pytest.mark.parametrize(
    ("hosts", "state", "reason"),
    [
        ([], LinkState.WAITING, "web and page do not run"),
        ([host("A", ("page",))], LinkState.WAITING, "web does not run"),
        ([host("A", ("page",), ("web",))], LinkState.PENDING, "web on host-A"),
        ([host("A", ("page",), ("web",), links=(report(),))], LinkState.ACTIVE, ""),
        ([host("A", (), ("web",), links=(report(),))], LinkState.WAITING, "page does not run"),
        ([host("A", ("page",), ("web",), links=(report("taken"),))], LinkState.REFUSED, "web on host-A: taken"),
        ([host("A", ("page",), ("web",), links=(report(),)), host("B", (), ("web",))], LinkState.PENDING, "host-B"),
        ([host("A", ("page", "web"))], LinkState.ACTIVE, ""),
        ([host("A", ("page",), ("web",), labels={"host.impl": "v1"})], LinkState.ACTIVE, ""),
    ],
)
def test_a_link_is_what_its_ends_make_of_it(hosts: list[HostInventory], state: LinkState, reason: str) -> None:
    status = link_status(LINK, hosts)
    assert status.state is state
    assert reason in status.reason


def test_who_manages_what() -> None:
    assert manager_of(MANAGED) == "shop"
    assert manager_of({"wasmcloud.dev/appspec": "shop"}) is None
    assert manager_of(None) is None
    owned = ComponentDescription(id="it", image_ref="i", max_instances=1, annotations=MANAGED)
    inventory = host("A").model_copy(update={"components": (owned,)})
    assert managed("it", [inventory]) == "shop"
    assert managed("other", [inventory]) is None
    assert owner_of_config("my_shop-web-at", ["my", "my-shop"]) == "my-shop"
    assert owner_of_config("SECRET_my_shop-pw", ["my-shop"]) == "my-shop"
    assert owner_of_config("elsewhere", ["my-shop"]) == "an application"


def test_a_watch_may_have_an_interval_or_not() -> None:
    assert with_interval(["hosts", "-w"]) == ["hosts", "--watch=2s"]
    assert with_interval(["hosts", "-w", "5s", "-o", "jsonl"]) == ["hosts", "-w", "5s", "-o", "jsonl"]
    assert with_interval(["links", "--watch", "my_app"]) == ["links", "--watch=2s", "my_app"]
    assert with_interval(["hosts", "--watch=1m"]) == ["hosts", "--watch=1m"]
    assert with_interval([]) == []
    assert [interval(text) for text in ("5", "5s", "99", "500", "5000", "1ms")] == [5.0, 5.0, 99.0, 0.5, 5.0, 0.1]
    with pytest.raises(RequestInvalid):
        interval("soon")


def test_a_watch_tells_what_is_new() -> None:
    one, two = {"id": "a", "uptime_seconds": 1}, {"id": "b", "labels": {}}
    assert changes({}, {"a": one}) == [{"change": "added", **one}]
    assert changes({"a": one}, {"a": {**one, "uptime_seconds": 9}}) == []
    changed = {**two, "labels": {"zone": "a"}}
    assert changes({"a": one, "b": two}, {"b": changed}) == [
        {"change": "changed", **changed},
        {"change": "removed", **one},
    ]


def test_an_image_that_is_a_file_here_becomes_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b.wasm").touch()
    url = f"file://{tmp_path}/a%20b.wasm"
    assert image_ref("a b.wasm") == image_ref("./a b.wasm") == image_ref(f"{tmp_path}/a b.wasm") == url
    assert image_ref("ghcr.io/org/echo:1") == "ghcr.io/org/echo:1"
    assert image_ref("/on/the/host.wasm") == "file:///on/the/host.wasm"
    assert image_ref("https://example.org/x.wasm") == "https://example.org/x.wasm"
    for text in ("./nope.wasm", "nope.wasm", "../x"):
        with pytest.raises(NotFound):
            image_ref(text)
    for text in ("", "./"):
        with pytest.raises(RequestInvalid):
            image_ref(text)


def test_the_least_busy_bidder_gets_it() -> None:
    hosts = [host("A", ("x", "y")), host("B", ("x",)), host("C", ("x",))]
    assert choose(["A", "C", "B"], hosts) == choose(["B", "C", "A"], hosts) == "B"
    assert "labels zone=a" in no_bid("component", "x", hosts, {"zone": "a"}).message
    assert "every host" in no_bid("component", "x", hosts, {}).message
    assert listed(map(str, range(10)), 3) == "0, 1, 2 and 7 more"


def test_values_from_files() -> None:
    assert parse_file("# c\n\nA=1\nexport B = 'x y'\nC=a=b\n", "f") == {"A": "1", "B": "x y", "C": "a=b"}
    assert parse_file(' {"A": "1"}', "f") == {"A": "1"}
    for text in ("A", "=1", '{"A": 1}', "{", '{"A": null}'):
        with pytest.raises(RequestInvalid):
            parse_file(text, "f")


@given(st.text(max_size=200))
def test_any_file_is_read_or_refused(text: str) -> None:
    with suppress(RequestInvalid):
        assert all(isinstance(value, str) for value in parse_file(text, "f").values())


def test_references_to_secrets() -> None:
    stored = reference("db", "vault", "prod/db", field="pw", version=None, properties={"role": "x"})
    assert stored == {
        "name": "db",
        "type": "secret.wasmcloud.dev/v1alpha1",
        "backend": "vault",
        "key": "prod/db",
        "policy": '{"type":"properties.secret.wasmcloud.dev/v1alpha1","properties":{"role":"x"}}',
        "field": "pw",
    }
    assert shown_reference(stored)["properties"] == "role=x"
    assert shown_reference({"policy": "nonsense", "name": "x"}) == {"name": "x"}
    assert secret_key("db") == secret_key("SECRET_db") == "SECRET_db"
    assert secret_name("SECRET_db") == "db"
    with pytest.raises(RequestInvalid):
        secret_key("a.b")
    with pytest.raises(RequestInvalid):
        reference("db", " ", "k", field=None, version=None, properties={})


def test_pairs_and_labels() -> None:
    assert parse_pairs(["a=1=2", "b="], "value") == {"a": "1=2", "b": ""}
    assert parse_labels(["zone=a,disk= ssd"]) == {"zone": "a", "disk": "ssd"}
    assert parse_keys(["zone,disk", "zone=a"]) == ["zone", "disk"]
    for wrong in (["HostCore.os"], [""], ["a,,b"]):
        with pytest.raises(RequestInvalid):
            parse_keys(wrong)


def test_a_configuration_is_a_bare_object_for_programs() -> None:
    values = {"b": "2", "a": "1"}
    assert config_document(values, Format.JSON) == '{\n  "b": "2",\n  "a": "1"\n}\n'
    assert config_document(values, Format.TABLE) == "a   1\nb   2\n"
    assert config_document(values, Format.NAME) == "a\nb\n"
    assert config_document({}, Format.TABLE) == ""


HOSTILE = st.text(max_size=40) | st.just("\x1b[2J\x1b]0;x\x07")


@given(HOSTILE, HOSTILE, HOSTILE, st.integers(-(2**63), 2**63))
def test_no_record_drives_the_terminal(component: str, message: str, host: str, time: int) -> None:
    line = LogRecord(time, host, component, "stdout", "info", message, message)
    call = CallRecord(time, host, component, host, "l", message, component, "local", 1, message, message, message)
    call = replace(call, args=message, result=message)
    event = LatticeEvent(component, host, "id", message, {"component_id": message, "error": message}, None)
    text = log_line(line, {}, wide=True) + call_line(call, {}) + event_line(event, {host: component})
    assert not any(ord(char) < 32 and char not in "\n\t" for char in text)
    assert "\x9b" not in text


def test_events_as_lines() -> None:
    failed = LatticeEvent(
        "component_scale_failed",
        "NA",
        "1",
        "2026-01-31T12:00:00Z",
        {"component_id": "x", "error": "no such file"},
        None,
    )
    assert event_line(failed, {"NA": "calm-host"}) == (
        "2026-01-31 12:00:00  calm-host               component_scale_failed   x: no such file\n"
    )
    assert summary(replace(failed, kind="component_scaled", data={"component_id": "x", "max_instances": 0})).startswith(
        "x: stopped"
    )
    assert summary(replace(failed, kind="labels_changed", data={"labels": {"hostcore.os": "l", "z": "1"}})) == "z=1"
    assert [item["type"] for item in events([failed], {}, "default").items] == ["component_scale_failed"]
    assert stamp(1_760_000_000_123_456_789) == "2025-10-09T08:53:20.123Z"


def test_one_page_of_a_component() -> None:
    inventory = host("A", ("page",), ("web",), links=(report("taken"),))
    known = Known([inventory], [LINK], {}, [])
    page = describe_workload("component", "page", [(inventory, inventory.components[0])], known)
    assert "refused" in page.text
    assert "it was started by hand" in page.text
    assert page.data["component"]["links_in"][0]["reason"] == "web on host-A: taken"
    assert section("T", [("a", "b")]) == ""
    assert section("T", [("a", "b"), ("1", "")]) == "\nT\n  A\n  1\n"
