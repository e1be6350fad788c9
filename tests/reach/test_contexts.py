"""Where a command goes: options, environment, contexts of three kinds, the default; and that secrets stay secret."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.lattice import CommandFailed, trellis
from trellis_cli.connecting import find_target
from trellis_cli.contexts import ContextStore
from trellis_cli.output import Format, render
from trellis_cli.output.contexts import effective_document
from trellis_cli.settings import Settings
from trellis_cli.targets import FIELDS, Value, v1_timeout
from trellis_lattice.errors import Conflict, NotFound, RequestInvalid

from .servers import running, single


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "TRELLIS_DATA_DIR": str(tmp_path / "data")}


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))


def effective(environ: dict[str, str], **options: Any) -> dict[str, tuple[str, str]]:
    values = find_target(Settings(environ=environ, **options)).values
    return {name: (value.value, value.origin) for name, value in values.items()}


def test_nothing_said_is_the_default(environ: dict[str, str]) -> None:
    assert effective(environ) == {"nats_url": ("nats://127.0.0.1:4222", "default"), "lattice": ("default", "default")}


def test_an_option_beats_a_variable_beats_v1_beats_a_context(environ: dict[str, str]) -> None:
    ContextStore(environ).save("c", {"nats_url": "nats://ctx:1", "lattice": "ctx", "js_domain": "ctx"}, replace=False)
    environ |= {"TRELLIS_CONTEXT": "c"}
    assert effective(environ)["lattice"] == ("ctx", "context c")
    environ |= {"WASMCLOUD_LATTICE": "v1", "WASMCLOUD_CTL_HOST": "old", "WASMCLOUD_CTL_PORT": "5"}
    assert effective(environ)["nats_url"] == ("nats://old:5", "WASMCLOUD_CTL_HOST and WASMCLOUD_CTL_PORT")
    environ |= {"TRELLIS_LATTICE": "ours"}
    assert effective(environ)["lattice"] == ("ours", "TRELLIS_LATTICE")
    found = effective(environ, lattice="flag")
    assert found["lattice"] == ("flag", "--lattice")
    assert found["js_domain"] == ("ctx", "context c")


def test_who_we_are_comes_from_one_place(environ: dict[str, str]) -> None:
    ContextStore(environ).save("c", {"creds": "/x.creds", "nats_url": "nats://ctx:1"}, replace=False)
    found = effective(environ, context="c", nats_token="t")
    assert found["nats_token"] == ("t", "--nats-token")
    assert "creds" not in found


def test_a_selected_context_is_not_for_another_server(environ: dict[str, str]) -> None:
    store = ContextStore(environ)
    store.save("c", {"creds": "/x.creds", "nats_url": "nats://ctx:1"}, replace=False)
    store.select("c")
    assert effective(environ)["creds"] == ("/x.creds", "context c")
    assert "creds" not in effective(environ, nats_url="nats://elsewhere:1")


def test_contexts_of_nats_and_wash(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "seed", "# comment\nSUSEED\n")
    nats = {"url": "tls://n:4222", "creds": "", "nkey": str(tmp_path / "seed"), "ca": "/ca.pem", "tls_first": True}
    write(tmp_path / ".config/nats/context/prod.json", nats | {"jetstream_domain": "hub"})
    wash = {"ctl_host": "w", "ctl_port": 4333, "ctl_seed": "SX", "ctl_jwt": "J", "lattice": "blue", "js_domain": None}
    write(tmp_path / ".wash/contexts/old.json", wash)
    store = ContextStore(environ)
    assert [one.title for one in store.list()] == ["nats/prod", "wash/old"]
    assert store.get("prod").values == {
        "nats_url": "tls://n:4222",
        "tls_ca": "/ca.pem",
        "js_domain": "hub",
        "tls_first": "true",
        "nats_seed": "SUSEED",
    }
    assert effective(environ, context="wash/old")["nats_url"] == ("nats://w:4333", "context wash/old")
    # What others have selected counts least.
    write(tmp_path / ".wash/contexts/default", "old")
    assert effective(environ)["lattice"] == ("blue", "context wash/old")
    write(tmp_path / ".config/nats/context.txt", "prod\n")
    assert effective(environ)["nats_url"] == ("tls://n:4222", "context nats/prod")
    assert effective(environ, nats_url="nats://x:1").keys() == {"nats_url", "lattice"}


def test_ours_are_kept_private_and_not_lost(environ: dict[str, str]) -> None:
    store = ContextStore(environ)
    path = store.save("c", {"nats_token": "t"}, replace=False).path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Conflict):
        store.save("c", {}, replace=False)
    with pytest.raises(NotFound):
        store.save("d", {}, replace=True)
    for bad in ("../x", "", ".hidden", "a/b", "x" * 100):
        with pytest.raises(RequestInvalid):
            store.save(bad, {}, replace=False)
        with pytest.raises(NotFound):
            store.get(bad)
    store.select("c")
    store.delete("c")
    assert store.selected is None


def test_a_broken_context_is_named_when_it_is_used(environ: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / ".config/trellis/contexts/c.json", "{")
    assert ContextStore(environ).list() == []
    with pytest.raises(Exception, match=r"c\.json cannot be read"):
        find_target(Settings(environ=environ, context="c"))
    with pytest.raises(NotFound):
        find_target(Settings(environ=environ, context="absent"))


@pytest.mark.parametrize("format", list(Format))
def test_secrets_are_not_shown(format: Format) -> None:
    values = {name: Value("s3cret", "x") for name in FIELDS if name.startswith("nats_") and name != "nats_user"}
    values["nats_url"] = Value("nats://me:s3cret@h:1,nats://s3cret@h:2", "x")
    assert "s3cret" not in render(effective_document(None, values, Value("5s", "default")), format)


def test_v1_says_how_long_in_milliseconds() -> None:
    assert v1_timeout({"WASMCLOUD_CTL_TIMEOUT_MS": "1500"}) == 1.5
    assert v1_timeout({}) is None
    with pytest.raises(RequestInvalid):
        v1_timeout({"WASMCLOUD_CTL_TIMEOUT_MS": "soon"})


def test_files_that_are_not_there_are_named_with_who_named_them(environ: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="TRELLIS_TLS_CA names /absent"):
        find_target(Settings(environ=environ | {"TRELLIS_TLS_CA": "/absent"})).connection("x")
    found = find_target(Settings(environ=environ, nats_url=" nats://a:1 , nats://b:2", js_domain="hub")).connection("x")
    assert found.urls == ("nats://a:1", "nats://b:2")
    assert found.jetstream_domain == "hub"


async def test_a_lattice_on_a_nats_that_wants_a_token(tmp_path: Path) -> None:
    """Through the commands: the token goes to the hosts by their environment, not on their command lines."""
    node = single(tmp_path / "n", 'authorization { token: "right" }')
    environment = {"TRELLIS_DATA_DIR": str(tmp_path / "data"), "TRELLIS_CONFIG_DIR": str(tmp_path / "config")}
    async with running(node):
        options = ("--nats-url", node.url, "--nats-token", "right")
        with pytest.raises(CommandFailed) as refused:
            await trellis("up", "--detach", "--nats-url", node.url, environment=environment)
        assert refused.value.code == 6
        try:
            up = await trellis("up", "--detach", *options, environment=environment)
            command = Path(f"/proc/{up['hosts'][0]['pid']}/cmdline").read_bytes()
            assert b"host" in command
            assert b"right" not in command
            await trellis("ctx", "new", "here", *options, environment=environment)
            hosts = await trellis("get", "hosts", "--context", "here", environment=environment)
            assert [host["id"] for host in hosts["hosts"]] == [up["hosts"][0]["id"]]
            saved = tmp_path / "backup.json"
            await trellis("backup", str(saved), *options, environment=environment)
            restored = await trellis("restore", str(saved), *options, environment=environment)
            assert restored["refused"] == []
        finally:
            await trellis("down", environment=environment)
