"""From a manifest's image to a provider class."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trellis_lattice.errors import ConfigError, NotFound
from trellis_provider_sdk import find_provider
from trellis_provider_sdk.registry import entry_point_for
from trellis_providers.http_server import HttpServer
from trellis_providers.keyvalue_memory import KeyValueMemory
from trellis_providers.keyvalue_nats import KeyValueNats


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("http-server", HttpServer),
        ("keyvalue-nats", KeyValueNats),
        ("wasmcloud+builtin://http-server", HttpServer),
        ("ghcr.io/wasmcloud/http-server:0.27.0", HttpServer),
        ("oci://ghcr.io/wasmcloud/http-server:canary", HttpServer),
        ("ghcr.io/wasmcloud/keyvalue-nats@sha256:" + "0" * 64, KeyValueNats),
        ("ghcr.io/wasmcloud/keyvalue-nats:0.3.1@sha256:" + "0" * 64, KeyValueNats),
        ("python:trellis_providers.keyvalue_memory:KeyValueMemory", KeyValueMemory),
    ],
)
def test_references(reference: str, expected: type) -> None:
    assert find_provider(reference) is expected


@pytest.mark.parametrize(
    "reference", ["ghcr.io/wasmcloud/keyvalue-redis:0.28.2", "ghcr.io/acme/http-server:1", "nonsense", "", "a:b:c"]
)
def test_an_unknown_reference_lists_what_is_known(reference: str) -> None:
    with pytest.raises(NotFound) as unknown:
        find_provider(reference)
    assert "http-server" in (unknown.value.remedy or "")
    assert "keyvalue-nats" in (unknown.value.remedy or "")


def test_a_v1_image_says_what_it_stands_for() -> None:
    with pytest.raises(NotFound, match="it stands for `keyvalue-redis`"):
        find_provider("ghcr.io/wasmcloud/keyvalue-redis:0.28.2")
    assert entry_point_for("localhost:5000/mine/http-server:1") == "localhost:5000/mine/http-server"


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        ("python:no_such_module:Class", NotFound),
        ("python:trellis_providers.http_server:Missing", NotFound),
        ("python:trellis_providers.http_server", ConfigError),
        ("python:pathlib:Path", ConfigError),
        ("python:broken_provider_for_test:Class", ConfigError),
    ],
)
def test_a_class_that_cannot_be_had(
    reference: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_provider_for_test.py").write_text("1 / 0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(error):
        find_provider(reference)
