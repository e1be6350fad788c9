"""What an operator does by hand and looks at, on a real lattice of two hosts, from the command line."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.support import Run, command, environment, in_process, session
from tests.fixtures import components

pytestmark = pytest.mark.journey


@dataclass(frozen=True)
class Lattice:
    """A lattice that all tests of this file share, and a folder with components."""

    home: Path

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Run:
        return in_process(*arguments, home=self.home, stdin=stdin)

    def done(self, *arguments: str) -> Run:
        """A command that works."""
        run = self(*arguments)
        assert run.status == 0, run.err
        return run

    @property
    def hosts(self) -> list[str]:
        """Friendly names."""
        return [host["friendly_name"] for host in self.done("get", "hosts", "-o", "json").json["hosts"]]

    def image(self, name: str) -> str:
        return str(self.home / f"{name}.wasm")


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    home = tmp_path_factory.mktemp("home")
    for name in ("greeter", "faults", "logger", "greet_caller"):
        (home / f"{name}.wasm").write_bytes(getattr(components, name)())
    started = command("up", "--detach", "--hosts", "2", "--nats-port", "0")
    subprocess.run(started, env=environment(home), check=True, capture_output=True)
    yield Lattice(home)
    subprocess.run(command("down"), env=environment(home), check=True, capture_output=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_component_from_start_to_stop(lattice: Lattice) -> None:
    image, other = lattice.image("greeter"), lattice.image("faults")
    first = lattice.done("start", "component", image, "hand", "-a", "team=red", "-o", "json").json
    assert set(first) == {"success", "result", "component_ref", "component_id", "host_id"}
    assert first["component_ref"] == f"file://{image}"
    second = lattice.done("start", "component", image, "hand", "--max-instances", "5", "-o", "json").json
    assert second["host_id"] != first["host_id"], "an auction is won by a host that does not run it yet"
    everywhere = lattice("start", "component", image, "hand")
    assert everywhere.status == 3
    assert "already runs on every host" in everywhere.err

    scaled = lattice.done("scale", "component", first["host_id"][:12], image, "hand", "-c", "9", "-o", "json").json
    assert {"host_id", "component_id", "component_ref", "result"} <= set(scaled)
    found = lattice.done("get", "components", "--host", first["host_id"], "-o", "json").json["components"]
    [one] = [item for item in found if item["id"] == "hand"]
    assert (one["max_instances"], one["annotations"]) == (9, {"team": "red"}), "annotations stay when it is scaled"

    lattice.done("update", "component", "hand", other)
    found = lattice.done("get", "components", "-o", "json").json["components"]
    assert {item["image_ref"] for item in found if item["id"] == "hand"} == {f"file://{other}"}
    assert "already" in lattice.done("update", "component", "hand", other).err

    stopped = lattice.done("stop", "component", "hand", "-o", "json").json
    assert {"result", "component_id", "host_id"} <= set(stopped)
    assert len(stopped["host_ids"]) == 2
    assert lattice("stop", "component", "hand").status == 3


def test_a_start_that_fails_says_why_and_where(lattice: Lattice) -> None:
    bad = lattice.home / "text.wasm"
    bad.write_text("this is no component")
    run = lattice("start", "component", str(bad), "bad")
    assert run.status == 1
    assert "On host" in run.err
    assert "not a WebAssembly component" in run.err
    cases = {
        ("start", "component", "./nowhere.wasm", "x"): (3, "no file"),
        ("start", "component", lattice.image("greeter"), "a b"): (1, "component id"),
        ("start", "component", lattice.image("greeter"), "x", "-c", "zone=mars"): (3, "zone=mars"),
        ("start", "component", lattice.image("greeter"), "x", "-c", "zone"): (1, "not a constraint"),
        ("start", "component", lattice.image("greeter"), "x", "--host", "nobody"): (3, "There are:"),
        ("start", "component", lattice.image("greeter"), "x", "--max-instances", "0"): (2, "max-instances"),
        ("start", "provider", "nonsense", "x"): (3, "There is no provider nonsense"),
        ("update", "component", "nothing", lattice.image("greeter")): (3, "nothing"),
        ("stop", "provider", "nothing"): (3, "nothing"),
    }
    for arguments, (status, text) in cases.items():
        run = lattice(*arguments)
        assert (run.status, text in run.err) == (status, True), (arguments, run)


def test_links_say_how_they_are(lattice: Lattice) -> None:
    port = free_port()
    lattice.done("start", "provider", "http-server", "web")
    address = f"address=127.0.0.1:{port}"
    assert lattice.done("config", "put", "web-at", address, "-o", "json").json == {
        "success": True,
        "message": "successfully put config",
        "name": "web-at",
    }
    assert lattice.done("config", "get", "web-at", "-o", "json").json == {"address": f"127.0.0.1:{port}"}
    put = ("link", "put", "web", "page", "wasi", "http", "--interface", "incoming-handler")
    waiting = lattice.done(*put, "--source-config", "web-at", "-o", "json").json
    assert (waiting["source_id"], waiting["target"], waiting["state"]) == ("web", "page", "waiting")
    taken = lattice("link", "put", "web", "other", *put[4:], "-l", "two", "--source-config", "web-at", "-o", "json")
    assert taken.status == 1
    assert taken.json["state"] == "refused"
    assert f"127.0.0.1:{port}" in taken.json["reason"]
    states = {
        link["target"]: link["state"] for link in lattice.done("link", "query", "web", "-o", "json").json["links"]
    }
    assert states == {"page": "waiting", "other": "refused"}
    elsewhere = lattice("link", "put", "web", "third", *put[4:])
    assert elsewhere.status == 1
    assert "web is linked to page already" in elsewhere.err
    assert "no configuration `nix`" in lattice(*put, "-l", "z", "--source-config", "nix").err
    described = lattice.done("describe", "provider", "web", "-o", "json").json["provider"]
    assert {link["target"]: link["state"] for link in described["links_out"]} == states

    gone = lattice.done("link", "del", "web", "wasi", "http", "-o", "json").json
    assert (gone["source_id"], gone["link_name"], len(gone["deleted"])) == ("web", "default", 1)
    missing = lattice("link", "del", "web", "wasi", "http")
    assert missing.status == 3
    assert "two" in missing.err, "it says which links there are"
    assert lattice("link", "del", "web", "wasi", "http", "--ignore-missing").status == 0
    assert lattice("link", "del").status == 1
    assert len(lattice.done("link", "del", "web", "--all", "-o", "json").json["deleted"]) == 1
    lattice.done("config", "del", "web-at")
    assert lattice("config", "del", "web-at").status == 3
    assert lattice("config", "del", "web-at", "--ignore-missing").status == 0
    assert lattice("config", "get", "web-at").status == 3
    lattice.done("stop", "provider", "web")


def test_configuration_from_files_and_secrets(lattice: Lattice) -> None:
    env = lattice.home / "app.env"
    env.write_text("# settings\nA=1\nexport B='two words'\n")
    lattice.done("config", "put", "settings", "--from-file", str(env), "A=2")
    assert lattice.done("config", "get", "settings", "-o", "json").json == {"A": "2", "B": "two words"}
    assert lattice("config", "put", "settings", "--from-file", "-", stdin=b'{"A": "3"}').status == 0
    assert lattice("config", "put", "settings", "--from-file", "-", stdin=b'{"A": 3}').status == 1
    assert lattice("config", "put", "SECRET_x", "a=b").status == 1
    assert lattice("config", "put", "nothing").status == 1
    lattice.done("secrets", "put", "db", "nats-kv", "prod/db", "--field", "pw", "--property", "role=x")
    [secret] = lattice.done("get", "secrets", "-o", "json").json["secrets"]
    assert (secret["name"], secret["backend"], secret["key"], secret["field"]) == ("db", "nats-kv", "prod/db", "pw")
    assert json.loads(secret["policy"])["properties"] == {"role": "x"}
    assert "SECRET_db" not in lattice.done("get", "config").out
    lattice.done("secrets", "del", "SECRET_db")
    assert lattice("secrets", "get", "db").status == 3


def test_labels(lattice: Lattice) -> None:
    host = lattice.hosts[0]
    set_ = lattice.done("label", host, "zone=a", "disk=ssd,rack=3", "-o", "json").json
    assert set_["processed"] == ["zone=a", "disk=ssd", "rack=3"]
    [labels] = [
        each["labels"]
        for each in lattice.done("get", "hosts", "-o", "json").json["hosts"]
        if each["friendly_name"] == host
    ]
    assert (labels["zone"], labels["disk"], labels["rack"]) == ("a", "ssd", "3")
    lattice.done("label", host, "zone", "disk", "rack", "--delete")
    missing = lattice("label", host, "zone", "--delete")
    assert missing.status == 3
    assert "no label zone" in missing.err
    assert lattice("label", host, "hostcore.os=x").status == 1


def test_what_a_manifest_manages_is_left_alone(lattice: Lattice) -> None:
    manifest = f"""
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {{name: owned, annotations: {{description: managed}}}}
spec:
  components:
    - name: it
      type: component
      properties: {{image: {lattice.image("greeter")}, config: [{{name: tone, properties: {{a: b}}}}]}}
      traits:
        - type: spreadscaler
          properties: {{instances: 1}}
"""
    assert lattice("app", "deploy", "-", stdin=manifest.encode()).status == 0
    assert lattice.done("wait", "--for=running", "owned-it").status == 0
    for arguments in (
        ("stop", "component", "owned-it"),
        ("update", "component", "owned-it", lattice.image("faults")),
        ("start", "component", lattice.image("greeter"), "owned-it"),
        ("config", "put", "owned-tone", "a=c"),
        ("config", "del", "owned-tone"),
    ):
        run = lattice(*arguments)
        assert run.status == 1, arguments
        assert "application `owned`" in run.err, run.err
        assert "--force" in run.err
    page = lattice.done("describe", "app", "owned").out
    assert "owned-it" in page
    assert "Recent events" in page
    lattice.done("config", "put", "owned-tone", "a=c", "--force")
    lattice.done("app", "undeploy", "owned")
    assert lattice.done("wait", "--for=gone", "owned").status == 0
    late = lattice("wait", "--for=running", "owned-it", "--timeout", "300ms", "-o", "json")
    assert (late.status, late.json["code"]) == (4, "deadline-exceeded")
    assert lattice("wait", "--for=nonsense", "owned").status == 1


def test_logs_without_a_collector(lattice: Lattice) -> None:
    lattice.done("start", "component", lattice.image("logger"), "talker")
    lattice.done("call", "talker", "logger.to-stdout", "hello log")
    listed = lattice.done("logs", "talker", "-o", "json").json["logs"]
    said = [record for record in listed if record["source"] == "stdout"]
    assert [(record["component"], record["message"]) for record in said] == [("talker", "hello log")]
    assert said[0]["trace_id"]
    assert any("talker" in record["message"] for record in listed), "what its host says of it is there as well"
    assert "hello log" in lattice.done("logs", "talker").out
    assert "hello log" not in lattice.done("logs", "talker", "--level", "error").out
    assert lattice("logs", "--level", "loud").status == 1
    assert lattice("logs", "-f", "-o", "json").status == 1
    lattice.done("stop", "component", "talker")


async def test_logs_calls_and_events_as_they_happen(lattice: Lattice) -> None:
    home = lattice.home
    image = lattice.image("logger")
    async with (
        session("logs", "live", "-f", "-o", "jsonl", home=home) as logs,
        session("spy", "live", "--payloads", "-o", "jsonl", home=home) as spy,
        session("events", "--watch", "-o", "jsonl", home=home) as events,
    ):
        await spy.until("Calls from and to live")
        await events.until('"type"')
        started = session("start", "component", image, "live", home=home)
        async with started as starting:
            assert await starting.ended() == 0
        await events.until('"component_id": "live"')
        while "live says" not in spy.out or "live says" not in logs.out:
            async with session("call", "live", "logger.to-stdout", "live says", home=home) as call:
                assert await call.ended() == 0
            await spy.until("live says")
        await logs.until("live says")
    [first, *_] = [json.loads(line) for line in spy.out.splitlines()]
    assert (first["source"], first["target"], first["function"]) == ("trellis-cli", "live", "to-stdout")
    assert (first["route"], first["outcome"], first["args"]) == ("lattice", "ok", '["live says"]')
    assert first["request_bytes"] > 0


def test_watching(lattice: Lattice) -> None:
    run = lattice("get", "hosts", "-w", "-o", "json")
    assert run.status == 1
    assert "jsonl" in run.json["remedy"]
    assert lattice("get", "hosts", "--watch=soon").status == 1


def test_get_events_and_claims(lattice: Lattice) -> None:
    found = lattice.done("get", "events", "--type", "host_started", "-o", "json").json["events"]
    assert {event["type"] for event in found} == {"host_started"}
    assert len(found) == 2
    assert lattice("events", "--type", "nonsense").status == 1
    assert lattice.done("get", "claims", "-o", "json").json == {"success": True, "claims": []}
    [one] = lattice.done(
        "events", "--source", lattice.hosts[0], "--type", "host_started", "-o", "jsonl"
    ).out.splitlines()
    assert json.loads(one)["data"]["friendly_name"] == lattice.hosts[0]


def test_a_host_stops_as_a_drain(lattice: Lattice) -> None:
    name = lattice.hosts[0]
    stopped = lattice.done("stop", "host", name, "-o", "json").json
    assert name in stopped["result"]
    assert lattice("stop", "host", "nobody").status == 3
