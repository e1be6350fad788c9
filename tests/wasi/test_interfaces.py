"""Everything of WASI 0.2 is there, in every version that components ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wasi.world import World
from trellis_host.wasi import ComponentExited, WasiImports, wasi_interfaces
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import InterfaceType
from trellis_lattice.wit.values import Err, Ok

DECLARED = (Path(__file__).parent / "wasi-0.2-functions.txt").read_text().splitlines()


def test_every_declared_function_and_resource_is_defined() -> None:
    interfaces = {interface.name.unversioned: interface for interface in wasi_interfaces()}
    missing = []
    for line in DECLARED:
        interface, item = line.split(" ", 1)
        defined = interfaces[interface]
        if item.removeprefix("resource ") not in {**defined.functions, **defined.resources}:
            missing.append(line)
    assert missing == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("wasi:io/streams@0.2.0", True),
        ("wasi:io/streams@0.2.2", True),
        ("wasi:io/streams@0.2.99", True),
        ("wasi:io/streams", True),
        ("wasi:io/streams@0.3.0", False),
        ("wasi:io/streams@0.2.0-rc-2023-11-10", False),
        ("wasi:io/nothing@0.2.0", False),
        ("wasi:logging/logging@0.1.0-draft", True),
        ("wasi:logging/logging", True),
        ("wasi:config/store@0.2.0-rc.1", True),
        ("wasi:config/store@0.2.0-draft", True),
        ("wasi:config/store@0.2.0", True),
        ("wasi:config/runtime@0.2.0-draft", True),
        ("wasi:http/outgoing-handler@0.2.10", True),
        ("wasi:keyvalue/store@0.2.0-draft", False),
    ],
)
def test_versions(wanted: str, found: bool) -> None:
    answer = WasiImports().resolve(InterfaceName.parse(wanted), InterfaceType(wanted, {}))
    assert (answer is not None) is found


def test_a_type_is_one_resource_under_all_its_names() -> None:
    interfaces = {interface.name.unversioned: interface for interface in wasi_interfaces()}
    http, io = interfaces["wasi:http/types"].resources, interfaces["wasi:io/streams"].resources
    assert http["io-error"] is io["error"]
    assert http["headers"] is http["trailers"] is http["fields"]
    for name in ("input-stream", "output-stream", "pollable"):
        assert http[name] is io[name]


def test_environment_arguments_and_config_are_what_was_given() -> None:
    world = World(config={"a": "1"}, environment={"HOME": "/x"}, arguments=("prog", "-v"))
    assert world.call("wasi:cli/environment", "get-environment") == [("HOME", "/x")]
    assert world.call("wasi:cli/environment", "get-arguments") == ["prog", "-v"]
    assert world.call("wasi:cli/environment", "initial-cwd") is None
    for interface in ("wasi:config/store", "wasi:config/runtime"):
        assert world.call(interface, "get", "a") == Ok("1")
        assert world.call(interface, "get", "b") == Ok(None)
        assert world.call(interface, "get-all") == Ok([("a", "1")])


def test_clocks_and_randomness_are_what_was_given() -> None:
    world = World(wall=lambda: 5_000_000_007, monotonic=lambda: 42, random=lambda size: b"\1" * size)
    assert world.call("wasi:clocks/wall-clock", "now") == {"seconds": 5, "nanoseconds": 7}
    assert world.call("wasi:clocks/monotonic-clock", "now") == 42
    assert world.call("wasi:random/random", "get-random-bytes", 3) == b"\1\1\1"
    assert world.call("wasi:random/insecure", "get-insecure-random-u64") == 0x0101010101010101
    assert world.call("wasi:random/insecure-seed", "insecure-seed") == (0x0101010101010101, 0x0101010101010101)


def test_files_and_sockets_are_denied() -> None:
    world = World()
    assert world.call("wasi:filesystem/preopens", "get-directories") == []
    assert world.call("wasi:sockets/tcp-create-socket", "create-tcp-socket", "ipv4") == Err("access-denied")
    assert world.call("wasi:sockets/udp-create-socket", "create-udp-socket", "ipv6") == Err("access-denied")
    network = world.call("wasi:sockets/instance-network", "instance-network")
    assert world.call("wasi:sockets/ip-name-lookup", "resolve-addresses", network, "x") == Err("access-denied")


@pytest.mark.parametrize(("status", "code"), [(Ok(None), 0), (Err(None), 1)])
def test_exit_ends_the_invocation(status: Ok[None] | Err[None], code: int) -> None:
    with pytest.raises(ComponentExited) as caught:
        World().call("wasi:cli/exit", "exit", status)
    assert caught.value.fields["status"] == code
