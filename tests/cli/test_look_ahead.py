"""Seeing before a deployment what it does, afterwards why it did, and going back: on a real lattice of two hosts."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.support import Run, command, environment, session, trellis
from tests.cli.test_applications import HELLO, Lattice, free_port, http_app, http_get, plain_app
from tests.fixtures import components
from trellis_cli.applications import open_applications
from trellis_cli.settings import Settings
from trellis_lattice.errors import Conflict

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    home = tmp_path_factory.mktemp("home")
    (home / "http-hello.wasm").write_bytes(HELLO.read_bytes())
    (home / "greeter.wasm").write_bytes(components.greeter())
    started = command("up", "--detach", "--nats-port", "0", "--hosts", "2", "--label", "zone=a")
    subprocess.run(started, env=environment(home), check=True, capture_output=True)
    yield Lattice(home)
    subprocess.run(command("down"), env=environment(home), check=True, capture_output=True)


def codes(*runs: Run) -> list[int]:
    return [run.status for run in runs]


def test_what_a_plan_says_is_what_a_deployment_does(lattice: Lattice) -> None:
    file = lattice.home / "hello.yaml"
    file.write_text(http_app("hello", free_port()))

    planned = lattice("app", "plan", str(file), "-o", "json")
    dry = lattice("app", "deploy", str(file), "--dry-run")
    assert codes(planned, dry) == [8, 8]
    assert dry.out.endswith("Nothing was changed.\n")
    assert lattice("app", "get", "hello").status == 3, "nothing was stored"
    assert lattice("app", "deploy", "-f", str(file)).status == 0

    found = planned.json
    assert found["applications"] == [{"name": "hello", "deployed_version": None, "planned_version": "(new)"}]
    assert [line["stage"] for line in found["commands"] if line["stage"] != "prepare"] == [
        "config",
        "link",
        "start",
        "start",
        "start",
    ]
    placed = {
        (placement["id"], where["host"], where["count"])
        for placement in found["placements"]
        for where in placement["placed"]
    }
    there = {
        (item["id"], host["host_id"], item.get("max_instances", 1))
        for host in lattice("get", "inventory", "-o", "json").json["inventories"]
        for item in [*host["components"], *host["providers"]]
    }
    assert placed == there

    again, by_name = lattice("app", "plan", str(file)), lattice("app", "plan", "hello")
    assert codes(again, by_name, lattice("app", "diff", str(file))) == [0, 0, 0]
    assert "Plan: no change." in again.out
    away = lattice("app", "plan", "hello", "--undeploy", "-o", "jsonl")
    assert away.status == 8
    assert {json.loads(line)["stage"] for line in away.out.splitlines()} >= {"stop", "unlink", "forget"}
    assert lattice("app", "undeploy", "-f", str(file), "--dry-run").status == 8
    assert lattice("app", "status", "hello").status == 0, "it still runs"
    assert lattice("app", "undeploy", "-f", str(file)).status == 0
    assert lattice("app", "delete", "-f", str(file)).status == 0


def test_versions_are_compared_remembered_and_gone_back_to(lattice: Lattice) -> None:
    def app(version: str, instances: int) -> bytes:
        text = plain_app("greet", f"{lattice.home}/greeter.wasm").replace("instances: 1", f"instances: {instances}")
        return text.replace("annotations: {}", f"annotations: {{version: {version}}}").encode()

    assert lattice("app", "deploy", "-", stdin=app("v1", 1)).status == 0
    changed = lattice("app", "diff", "-", stdin=app("v2", 3))
    assert changed.status == 8
    assert "-        instances: 1" in changed.out
    assert "+        instances: 3" in changed.out
    assert lattice("app", "deploy", "-", stdin=app("v2", 3)).status == 0

    compared = lattice("app", "diff", "greet", "--version", "1", "--against", "v2", "-o", "json")
    paths = {change["path"]: change for change in compared.json["changes"]}
    instances = paths["spec.components[it].traits[spreadscaler].properties.instances"]
    assert (compared.status, instances["before"], instances["after"]) == (8, 3, 1)
    history = lattice("app", "history", "greet", "-o", "json").json
    assert [(item["number"], item["version"], item["deployed"]) for item in history["revisions"]] == [
        (1, "v1", False),
        (2, "v2", True),
    ]
    assert all(item["put_at"] and "@" in item["put_by"] for item in history["revisions"])
    assert [one["version"] for one in history["deployments"]] == ["v1", "v2"]
    assert lattice("app", "history", "greet", "-o", "name").out == "v1\nv2\n"

    foreseen = lattice("app", "rollback", "greet", "--dry-run")
    assert foreseen.status == 8
    assert "greet: version v2 → v1" in foreseen.out
    back = lattice("app", "rollback", "greet", "-o", "json")
    assert (back.status, back.json["model_version"], back.json["previous_version"]) == (0, "v1", "v2")
    assert lattice("app", "rollback", "greet", "--to", "2").status == 0
    table = lattice("app", "history", "greet").out.splitlines()
    assert [line.split()[:3] for line in table[1:]] == [["1", "v1", "-"], ["2", "v2", "deployed"]]
    assert codes(lattice("app", "rollback", "greet", "--to", "v9"), lattice("app", "history", "nope")) == [3, 3]

    taken = lattice("app", "deploy", "-", stdin=app("v2", 5))
    assert taken.status == 1
    assert "--replace" in taken.err
    assert lattice("app", "plan", "-", stdin=app("v2", 5)).status == 1
    assert lattice("app", "plan", "-", "--replace", stdin=app("v2", 5)).status == 8
    assert lattice("app", "deploy", "-", "--replace", stdin=app("v2", 5)).status == 0
    components = lattice("get", "components", "-o", "json").json["components"]
    assert sum(item["max_instances"] for item in components if item["id"] == "greet-it") == 5
    assert lattice("app", "delete", "greet").status == 0
    assert lattice("app", "history", "greet").status == 3


def test_who_waits_for_a_version_that_another_replaces_is_told_at_once(lattice: Lattice) -> None:
    def app(version: str) -> bytes:
        text = plain_app("contested", f"{lattice.home}/greeter.wasm")
        return text.replace("annotations: {}", f"annotations: {{version: {version}}}").encode()

    assert codes(
        lattice("app", "deploy", "-", stdin=app("v1")),
        lattice("app", "put", "-", stdin=app("v2")),
    ) == [0, 0]
    settings = Settings(nats_url=json.loads((lattice.home / ".local/share/trellis/up.json").read_text())["nats_url"])

    async def wait_for_v2() -> None:
        async with open_applications(settings) as applications:
            await applications.until_deployed("contested", "v2", lambda line: None, 30)

    with pytest.raises(Conflict, match="version v1 was deployed meanwhile by"):
        asyncio.run(wait_for_v2())
    assert lattice("app", "undeploy", "contested").status == 0
    with pytest.raises(Conflict, match="undeployed meanwhile"):
        asyncio.run(wait_for_v2())
    assert lattice("app", "delete", "contested").status == 0
    with pytest.raises(Conflict, match="deleted meanwhile"):
        asyncio.run(wait_for_v2())


def test_why_tells_for_each_host_what_it_lacks(lattice: Lattice) -> None:
    manifest = plain_app("mars", f"{lattice.home}/greeter.wasm", "{zone: mars}").encode()
    planned = lattice("app", "plan", "-", stdin=manifest)
    assert planned.status == 1
    assert "0 of 2 hosts: 2 lack zone=mars" in planned.out
    assert lattice("app", "put", "-", stdin=manifest).status == 0
    before = lattice("app", "why", "mars")
    assert "is not deployed; if it were" in before.out

    deployed = lattice("app", "deploy", "mars", "--timeout", "10s")
    assert deployed.status == 1
    why = lattice("app", "why", "mars", "it", "-o", "json").json
    (spread,) = why["components"][0]["spreads"]
    assert (spread["placed"], spread["summary"]) == (0, "0 of 2 hosts: 2 lack zone=mars")
    assert {(host["accepted"], host["code"], host["rule"]) for host in spread["hosts"]} == {
        (False, "label", "zone=mars")
    }
    assert all(host["host_name"] for host in spread["hosts"])
    assert why["unmet"][0]["reason"] == "unsatisfied"
    assert why["unmet"][0]["since"].startswith("20")
    status = lattice("app", "status", "mars", "-o", "json").json
    assert {one["reason"] for one in status["unmet"]} == {"unsatisfied", "rejected-label"}
    assert lattice("app", "why", "mars", "nope").status == 3
    assert lattice("app", "why", "nope").status == 3
    assert lattice("app", "delete", "mars").status == 0


def shared_edge() -> str:
    return """
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {name: edge, annotations: {experimental.wasmcloud.dev/shared: "true"}}
spec:
  components:
    - name: http
      type: capability
      properties: {image: http-server}
    - name: hello
      type: component
      properties:
        image: ./http-hello.wasm
        config: [{name: common, properties: {greeting: hi}}]
      traits:
        - type: spreadscaler
          properties: {instances: 4}
"""


def user_of_edge(name: str, link: str, port: int) -> str:
    """Uses provider and component of `edge`, and a config that another application brought."""
    return f"""
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {{name: {name}, annotations: {{}}}}
spec:
  components:
    - name: hello
      type: component
      properties: {{application: {{name: edge, component: hello}}}}
    - name: own
      type: component
      properties:
        image: ./http-hello.wasm
        config: [{{name: edge-common}}]
      traits:
        - type: spreadscaler
          properties: {{instances: 1}}
    - name: http
      type: capability
      properties: {{application: {{name: edge, component: http}}}}
      traits:
        - type: link
          properties:
            target: {{name: hello}}
            name: {link}
            namespace: wasi
            package: http
            interfaces: [incoming-handler]
            source:
              config: [{{name: listen, properties: {{address: "127.0.0.1:{port}"}}}}]
"""


def test_what_is_shared_goes_with_its_last_user(lattice: Lattice) -> None:
    ports = {"one": free_port(), "two": free_port()}
    for name, text in [
        ("edge", shared_edge()),
        *((name, user_of_edge(name, name, port)) for name, port in ports.items()),
    ]:
        (lattice.home / f"{name}.yaml").write_text(text)
        deployed = lattice("app", "deploy", str(lattice.home / f"{name}.yaml"))
        assert deployed.status == 0, deployed.err
    assert [http_get(port, "/") for port in ports.values()] == [(200, "Hello from C!\n")] * 2

    refused = lattice("app", "plan", "edge", "--undeploy")
    assert refused.status == 1
    assert "is used by: 'one', 'two'" in refused.out
    assert lattice("app", "undeploy", "edge").status == 1
    planned = lattice("app", "plan", "one", "--undeploy", "-o", "json").json
    touched = {line.get("id") or line.get("name") for line in planned["commands"]}
    assert touched <= {"one-own", "one", "one-listen"}
    assert lattice("app", "undeploy", "one").status == 0

    assert http_get(ports["two"], "/") == (200, "Hello from C!\n"), "the other one was not disturbed"
    assert lattice("app", "status", "two").status == 0
    assert lattice("app", "status", "edge").status == 0
    assert "edge-common" in lattice("get", "config", "-o", "name").out.split()
    assert lattice("app", "undeploy", "--all", "--dry-run").status == 8
    everything = lattice("app", "undeploy", "--all", "-o", "json")
    assert everything.json["undeployed_application_names"] == ["two", "edge"], "users go before what they use"
    assert lattice("app", "delete", "--all-undeployed", "-o", "json").json["deleted_applications"] == [
        "edge",
        "one",
        "two",
    ]


def test_a_port_that_another_application_has_is_seen_beforehand(lattice: Lattice) -> None:
    port = free_port()
    (lattice.home / "first.yaml").write_text(http_app("first", port))
    (lattice.home / "second.yaml").write_text(http_app("second", port))
    assert lattice("app", "deploy", str(lattice.home / "first.yaml")).status == 0

    planned = lattice("app", "plan", str(lattice.home / "second.yaml"), "-o", "json")
    both = "---".join(http_app(name, port) for name in ("third", "fourth"))
    (lattice.home / "both.yaml").write_text(both)
    together = lattice("app", "plan", str(lattice.home / "both.yaml"))

    assert planned.status == 1
    (problem,) = planned.json["problems"]
    assert (problem["other"], "Two listeners on one address" in problem["message"]) == ("first", True)
    assert planned.json["commands"] == []
    assert together.status == 1
    assert "fourth: Two listeners on one address" in together.out
    assert lattice("app", "delete", "first").status == 0


async def test_a_status_is_followed_until_it_changes(lattice: Lattice) -> None:
    async def run(*arguments: str, stdin: bytes = b"") -> Run:
        return await trellis(*arguments, home=lattice.home, stdin=stdin)

    manifest = plain_app("followed", f"{lattice.home}/greeter.wasm").encode()
    assert (await run("app", "put", "-", stdin=manifest)).status == 0
    async with session("app", "status", "followed", "-w", "200ms", "-o", "jsonl", home=lattice.home) as watched:
        await watched.until('"undeployed"')
        deployed = await run("app", "deploy", "followed", "--watch", "-o", "jsonl")
        assert deployed.status == 0
        await watched.until('"type": "deployed"')
    lines = [json.loads(line) for line in deployed.out.splitlines()]
    assert lines[-1]["deployed"] is True
    assert all(line["name"] == "followed" for line in lines[:-1])
    async with session("app", "list", "-w", "200ms", home=lattice.home) as watched:
        await watched.until("followed")
        assert (await run("app", "delete", "followed")).status == 0
        await watched.until("No application is stored")


def test_a_lattice_without_a_scheduler_is_said_so(lattice: Lattice) -> None:
    manifest = plain_app("lonely", f"{lattice.home}/greeter.wasm").encode()

    planned = lattice("app", "plan", "-", "-x", "nobody-here", stdin=manifest)
    listed = lattice("app", "history", "lonely", "-x", "nobody-here", "--timeout", "200ms")

    assert planned.status == 1
    assert "0 hosts: none answers" in planned.out
    assert "No scheduler answered on lattice `nobody-here`" in planned.err
    assert listed.status == 5
    assert "Start one: trellis up" in listed.err
    assert "no responders" not in planned.err + listed.err


def test_wrong_command_lines(lattice: Lattice) -> None:
    (lattice.home / "wrong.yaml").write_text(http_app("wrong", 8000).replace("type: component", "type: compnent"))
    file = str(lattice.home / "wrong.yaml")

    assert codes(
        lattice("app", "undeploy"),
        lattice("app", "undeploy", "x", "-f", file),
        lattice("app", "undeploy", "x", "--all"),
        lattice("app", "plan"),
        lattice("app", "status", "x", "-w", "soon"),
    ) == [2, 2, 2, 2, 2]
    invalid = lattice("app", "plan", file)
    assert invalid.status == 1
    assert "line 8" in invalid.err
    assert codes(
        lattice("app", "plan", "nope"),
        lattice("app", "diff", "nope"),
        lattice("app", "plan", "nope.yaml"),
        lattice("app", "rollback", "nope"),
    ) == [3, 3, 3, 3]
    assert lattice("app", "plan", file, "v1").status == 1
    assert lattice("app", "list", "-w", "-o", "json").status == 1
