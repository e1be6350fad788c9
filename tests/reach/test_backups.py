"""Backup and restore: what a lattice kept is there again, and nothing newer is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_cli.backups import decode, encode, read_state, write_state
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.client import LatticeClient
from trellis_lattice.errors import RequestInvalid
from trellis_wadm.api.client import WadmClient

from .hosts import host_on
from .servers import running, single, soon
from .test_shapes import MANIFEST, heard, until_scheduled


@given(st.dictionaries(st.text(min_size=1), st.dictionaries(st.text(min_size=1), st.binary())))
def test_what_is_written_can_be_read(state: dict[str, dict[str, bytes]]) -> None:
    assert decode(encode("default", state)) == ("default", state)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": "x"}', '{"format": "trellis-backup/1"}'])
def test_what_is_no_backup_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid):
        decode(text)


async def test_a_lattice_comes_back_on_another_nats(tmp_path: Path) -> None:
    old, new = single(tmp_path / "old"), single(tmp_path / "new")
    async with running(old, new):
        first = await Connection.connect(ConnectionSettings(urls=(old.url,)), timeout=10)
        second = await Connection.connect(ConnectionSettings(urls=(new.url,)), timeout=10)
        try:
            async with host_on(ConnectionSettings(urls=(old.url,)), tmp_path / "a"):
                client = LatticeClient(first)
                await heard(client)
                await until_scheduled(WadmClient(first), MANIFEST.format(image="file:///x.wasm"))
                await client.put_config("c", {"a": "b"}, timeout=10)
            _, state = decode(encode("default", await read_state(first, "default", deadline=soon())))
            assert "lease.reconciler" not in state.get("TRELLIS_default", {})

            async with host_on(ConnectionSettings(urls=(new.url,)), tmp_path / "b"):
                client = LatticeClient(second)
                await heard(client)
                other = MANIFEST.format(image="file:///y.wasm").replace("name: demo", "name: other")
                await until_scheduled(WadmClient(second), other)
                done = await write_state(second, "default", state, force=False, deadline=soon())
                assert "CONFIGDATA_default/c" in done.written
                assert await client.config("c", timeout=10) == {"a": "b"}
                applications = await WadmClient(second).applications(deadline=soon())
                assert sorted(one.name for one in applications) == ["demo", "other"]

                await client.put_config("c", {"a": "newer"}, timeout=10)
                again = await write_state(second, "default", state, force=False, deadline=soon())
                assert "CONFIGDATA_default/c" in again.refused
                assert await client.config("c", timeout=10) == {"a": "newer"}
                forced = await write_state(second, "default", state, force=True, deadline=soon())
                assert "CONFIGDATA_default/c" in forced.written
                assert await client.config("c", timeout=10) == {"a": "b"}
            with pytest.raises(RequestInvalid):
                await write_state(second, "other", state, force=False, deadline=soon())
            bucket = await open_bucket(second, "wadm_manifests", deadline=soon(), create=False)
            assert "default-demo" in await bucket.keys(deadline=soon())
        finally:
            await first.aclose()
            await second.aclose()
