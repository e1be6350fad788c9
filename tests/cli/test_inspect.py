"""`trellis inspect`, as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import trellis

EXAMPLE = Path(__file__).parents[2] / "examples" / "http-hello-c" / "http-hello.wasm"


async def test_a_component_is_shown_as_wit(tmp_path: Path) -> None:
    run = await trellis("inspect", str(EXAMPLE), home=tmp_path)
    assert run.status == 0
    assert "world component {" in run.out
    assert "export wasi:http/incoming-handler@" in run.out
    assert f"({EXAMPLE.stat().st_size:,} bytes)" in run.out
    run = await trellis("inspect", str(EXAMPLE), "-o", "json", home=tmp_path)
    assert run.err == ""
    assert run.json["size"] == EXAMPLE.stat().st_size
    assert run.json["exports"][0].startswith("wasi:http/incoming-handler@")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\n", "not a"),
        (b"\0asm\x01\0\0\0", "core"),
        (EXAMPLE.read_bytes()[:1000], "error"),
        (b"\0asm\x0d\0\x01\0" + b"\xff\x13\x37" * 50, "error"),
    ],
    ids=["empty", "text", "core", "truncated", "random"],
)
async def test_what_is_no_component_gets_one_clear_message(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "x.wasm"
    file.write_bytes(content)
    run = await trellis("inspect", str(file), home=tmp_path)
    assert run.status == 1
    assert run.out == ""
    assert said in run.err
    assert str(file) in run.err
    assert len(run.err.splitlines()) <= 5


async def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    assert (await trellis("inspect", str(tmp_path), home=tmp_path)).status == 1
    assert (await trellis("inspect", str(tmp_path / "none.wasm"), home=tmp_path)).status == 3
