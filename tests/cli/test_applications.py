"""Applications on a real lattice, from the command line."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.support import Run, command, environment, in_process
from tests.fixtures import components

pytestmark = pytest.mark.journey

HELLO = Path(__file__).parents[2] / "examples" / "http-hello-c" / "http-hello.wasm"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass(frozen=True)
class Lattice:
    """A lattice that all tests of this file share, and a folder for manifests."""

    home: Path

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Run:
        return in_process(*arguments, home=self.home, stdin=stdin)


@pytest.fixture(scope="module")
def lattice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lattice]:
    home = tmp_path_factory.mktemp("home")
    (home / "http-hello.wasm").write_bytes(HELLO.read_bytes())
    (home / "greeter.wasm").write_bytes(components.greeter())
    (home / "faults.wasm").write_bytes(components.faults())
    started = command("up", "--detach", "--nats-port", "0", "--label", "zone=a")
    subprocess.run(started, env=environment(home), check=True, capture_output=True)
    yield Lattice(home)
    subprocess.run(command("down"), env=environment(home), check=True, capture_output=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def http_app(name: str, port: int) -> str:
    return f"""
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {{name: {name}, annotations: {{description: says hello}}}}
spec:
  components:
    - name: hello
      type: component
      properties: {{image: ./http-hello.wasm}}
      traits:
        - type: spreadscaler
          properties: {{instances: 10}}
    - name: http
      type: capability
      properties: {{image: http-server}}
      traits:
        - type: link
          properties:
            target: {{name: hello}}
            namespace: wasi
            package: http
            interfaces: [incoming-handler]
            source:
              config: [{{name: listen, properties: {{address: "127.0.0.1:{port}"}}}}]
"""


def plain_app(name: str, image: str, requirements: str = "{}") -> str:
    return f"""
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {{name: {name}, annotations: {{}}}}
spec:
  components:
    - name: it
      type: component
      properties: {{image: {image}}}
      traits:
        - type: spreadscaler
          properties: {{instances: 1, spread: [{{name: there, requirements: {requirements}}}]}}
"""


def http_get(port: int, path: str) -> tuple[int, str]:
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status, answer.read().decode()


def test_from_a_file_to_an_answer_and_back(lattice: Lattice) -> None:
    port = free_port()
    file = lattice.home / "hello.yaml"
    file.write_text(http_app("hello", port))
    deployed = lattice("app", "deploy", str(file))
    assert deployed.status == 0, deployed.err
    assert f"Try it: curl http://127.0.0.1:{port}/" in deployed.err
    assert http_get(port, "/") == (200, "Hello from C!\n")

    status = lattice("app", "status", "hello")
    assert status.status == 0
    assert "deployed" in status.out.splitlines()[0]
    listed = lattice("app", "list", "-o", "json").json["applications"]
    assert [(app["name"], app["status"]) for app in listed if app["name"] == "hello"] == [("hello", "deployed")]
    assert "hello" in lattice("get", "apps", "-o", "name").out.split()
    assert "hello-hello" in lattice("get", "components").out
    provider = lattice("get", "provider", "-o", "json").json["providers"][0]
    assert (provider["id"], provider["image_ref"]) == ("hello-http", "http-server")
    link = lattice("get", "links", "hello-hello", "-o", "json").json["links"][0]
    assert (link["source_id"], link["target"], link["interfaces"]) == (
        "hello-http",
        "hello-hello",
        ["incoming-handler"],
    )
    config = lattice("get", "config", "hello-listen", "-o", "json")
    assert config.json["config"] == [{"name": "hello-listen", "values": {"address": f"127.0.0.1:{port}"}}]

    traced = lattice("trace", TRACE)
    assert traced.status == 0, traced.err
    assert "GET" in traced.out.splitlines()[1]
    assert "└─ wasi:http/incoming-handler/handle" in traced.out
    assert {span["trace_id"] for span in lattice("trace", TRACE, "-o", "json").json["spans"]} == {TRACE}

    again = lattice("app", "deploy", str(file), "-o", "json")
    assert again.json["model_version"] == listed[0]["version"]
    assert again.json["deployed"] is True
    stored = lattice("app", "get", "hello", "-o", "json").json["application"]
    image = stored["spec"]["components"][0]["properties"]["image"]
    assert image == f"file://{lattice.home}/http-hello.wasm"

    assert lattice("app", "undeploy", str(file)).status == 0
    with pytest.raises(urllib.error.URLError):
        http_get(port, "/")
    assert "hello-hello" not in lattice("get", "components").out
    assert lattice("app", "delete", "hello").status == 0
    assert lattice("app", "delete", "hello").status == 3
    assert lattice("app", "delete", "hello", "--ignore-missing").status == 0
    assert lattice("app", "status", "hello").status == 3


def test_calls_are_typed(lattice: Lattice) -> None:
    deployed = lattice("app", "deploy", "-", stdin=plain_app("greet", f"{lattice.home}/greeter.wasm").encode())
    assert deployed.status == 0, deployed.err
    run = lattice("call", "greet-it", "demo:greet/greeter.greet", "Ada")
    assert (run.status, run.out) == (0, '"Hello, Ada!"\n')
    assert lattice("call", "greet-it", "greeter.sum", "[1, 2, 4000000000]", "-o", "json").json == {
        "success": True,
        "result": 4000000003,
    }
    for arguments, said in [
        (("greeter.sum", '["x"]'), "numbers"),
        (("greeter.sum", "nonsense"), "list<u32>"),
        (("greeter.sum",), "takes 1 argument"),
    ]:
        run = lattice("call", "greet-it", *arguments)
        assert run.status == 1
        assert said in run.err
    run = lattice("call", "greet-it", "greeter.nope")
    assert run.status == 3
    assert "demo:greet/greeter.greet: func(name: string) -> string" in run.err
    run = lattice("call", "nobody", "greeter.greet", "x")
    assert run.status == 3
    assert "greet-it" in run.err


def test_a_trap_is_one_message_with_a_place(lattice: Lattice) -> None:
    deployed = lattice("app", "deploy", "-", stdin=plain_app("faults", f"{lattice.home}/faults.wasm").encode())
    assert deployed.status == 0, deployed.err
    run = lattice("call", "faults-it", "faults.divide", "1", "0")
    assert run.status == 1
    assert "divide" in run.err
    run = lattice("call", "faults-it", "faults.endless", "--timeout", "1s")
    assert run.status == 4
    assert lattice("call", "faults-it", "faults.divide", "6", "3").out == "2\n"


def test_validate_names_every_place(lattice: Lattice) -> None:
    file = lattice.home / "wrong.yaml"
    file.write_text(
        http_app("wrong", 8000).replace("type: component", "type: compnent").replace("[incoming", "[incomin")
    )
    run = lattice("app", "validate", str(file))
    assert run.status == 1
    assert f"{file}:8:" in run.out
    found = lattice("app", "validate", str(file), "-o", "json")
    assert found.json["success"] is False
    assert found.json["errors"][0]["line"] == 8
    deploy = lattice("app", "deploy", str(file))
    assert deploy.status == 1
    assert "line 8" in deploy.err
    assert "wrong" not in lattice("app", "list", "-o", "name").out.split()
    file.write_text("a: [1\n")
    assert lattice("app", "validate", str(file)).status == 1
    assert (lattice("app", "validate", str(file.with_name("none.yaml")))).status == 3


def test_a_deployment_that_cannot_be_placed_says_why(lattice: Lattice) -> None:
    app = plain_app("nowhere", f"{lattice.home}/greeter.wasm", "{zone: mars}")
    run = lattice("app", "deploy", "-", "--timeout", "10s", stdin=app.encode())
    assert run.status in (1, 4)
    assert "zone" in run.err
    status = lattice("app", "status", "nowhere")
    assert status.status in (1, 4)
    assert "zone" in status.out
    assert lattice("app", "undeploy", "nowhere").status == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\0asm\x01\0\0\0", "core WebAssembly module"), (b"random bytes", "not a WebAssembly component"), (b"", "empty")],
    ids=["core", "random", "empty"],
)
def test_an_image_that_is_no_component_is_refused_before_anything_is_sent(
    lattice: Lattice, content: bytes, said: str
) -> None:
    (lattice.home / "broken.wasm").write_bytes(content)
    app = plain_app("broken", f"{lattice.home}/broken.wasm")
    run = lattice("app", "deploy", "-", stdin=app.encode())
    assert run.status == 1
    assert "The image of `it`" in run.err
    assert said in run.err
    assert lattice("app", "get", "broken").status == 3, "nothing was stored"


def test_a_component_that_cannot_start_ends_the_deployment_with_its_reason(lattice: Lattice) -> None:
    (lattice.home / "damaged.wasm").write_bytes(HELLO.read_bytes()[:900])
    damaged = http_app("damaged", free_port()).replace("./http-hello.wasm", f"{lattice.home}/damaged.wasm")
    run = lattice("app", "deploy", "-", "-o", "json", stdin=damaged.encode())
    assert run.status == 1, "part of it runs, but the reason is no lack of hosts"
    assert run.json["success"] is False
    assert "`damaged` has failed" in run.json["error"]
    assert "truncated or damaged" in run.json["error"]
    assert "undeploy damaged" in run.json["remedy"]
    assert "attempt" not in run.err, "it was not tried again"
    assert lattice("app", "status", "damaged").status == 1
    assert lattice("app", "delete", "damaged").status == 0


def test_an_address_that_another_program_has_is_told_and_taken_once_it_is_free(lattice: Lattice) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (lattice.home / "taken.yaml").write_text(http_app("taken", port))
        run = lattice("app", "deploy", str(lattice.home / "taken.yaml"))
        assert run.status == 1
        assert f"127.0.0.1:{port} is already in use" in run.err
        assert run.err.partition("error:")[2].count("already in use") == 1
        status = lattice("app", "status", "taken")
        assert (status.status, "unhealthy" in status.out) == (1, True)
    assert _eventually_deployed(lattice, "taken")
    assert http_get(port, "/")[0] == 200
    assert lattice("app", "delete", "taken").status == 0


def _eventually_deployed(lattice: Lattice, name: str) -> bool:
    """Waits for the host's next look at what it refused. Bounded by the number of questions, each of which waits."""
    return any(lattice("app", "deploy", name).status == 0 for _ in range(20))


def test_what_is_not_there(lattice: Lattice) -> None:
    for arguments in [
        ("app", "deploy", "nope"),
        ("app", "status", "nope"),
        ("app", "get", "nope"),
        ("get", "config", "nope"),
        ("get", "inventory", "nope"),
        ("trace", "0" * 31 + "1"),
        ("app", "deploy", "nope.yaml"),
    ]:
        run = lattice(*arguments)
        assert run.status == 3, (arguments, run)
        assert run.err.startswith("error: "), run.err
    missing = plain_app("missing", "./not-built.wasm")
    run = lattice("app", "deploy", "-", stdin=missing.encode())
    assert run.status == 3
    assert "not-built.wasm" in run.err
    assert lattice("trace", "xyz").status == 1


def test_formats(lattice: Lattice) -> None:
    for form in ("table", "wide", "json", "jsonl", "yaml", "name"):
        run = lattice("get", "hosts", "-o", form)
        assert run.status == 0
        assert run.out.strip()
    assert lattice("get", "hosts", "-o", "json").json["success"] is True
    assert len(json.loads(lattice("get", "hosts", "-o", "jsonl").out)["id"]) == 56
