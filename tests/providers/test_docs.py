"""The examples of docs/providers.md work as printed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from trellis_lattice.invocation.api import Call
from trellis_lattice.wit.values import Err, Ok
from trellis_provider_sdk import ProviderLink, ProviderRunner, describe, find_provider
from trellis_provider_sdk.testing import FakeContext

from .conftest import Components

TEXT = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
FIRST, VARIANT, RESOURCE, _ = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


async def test_the_first_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(FIRST.splitlines()) <= 20
    (tmp_path / "greetings.py").write_text(FIRST)
    monkeypatch.syspath_prepend(str(tmp_path))
    runner = ProviderRunner(find_provider("python:greetings:Greeter")(), FakeContext("greeter", Components()))
    await runner.start()
    await runner.link_put(ProviderLink("app", "greeter", "default", "acme", "greet", target_config={"word": "Bonjour"}))
    name = "acme:greet/greeter"
    type = runner.function_type(name, "hello")
    deadline = asyncio.get_running_loop().time() + 5
    for args, expected in ((["Ada", 2], Ok(["Bonjour, Ada!"] * 2)), (["", 1], Err("nobody to greet"))):
        assert await runner.serve(Call("greeter", name, "hello", args, type, deadline, "app")) == expected
    await runner.stop()


def test_the_snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = (
        "from dataclasses import dataclass\n"
        "from trellis_provider_sdk import Provider, Resource, VariantCase, constructor, provides, u32\n"
    )
    (tmp_path / "snippets_of_docs.py").write_text(imports + VARIANT + RESOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    described = describe(find_provider("python:snippets_of_docs:Counters"))
    assert sorted(described["acme:count/counters@0.1.0"].functions) == ["[constructor]counter", "[method]counter.add"]


def test_every_key_of_the_configuration_is_documented() -> None:
    root = Path(__file__).parents[2] / "providers" / "trellis_providers"
    for module in ("http_server/config.py", "keyvalue_nats/settings.py"):
        text = (root / module).read_text()
        keys = set(re.findall(r'(?:config\.get\(|config\[|"config, )"([a-z0-9_]+)"', text)) - {"tls_cert_file"}
        for key in keys - {"cluster_uri"}:
            assert f"`{key}`" in TEXT, f"{key} of {module}"
