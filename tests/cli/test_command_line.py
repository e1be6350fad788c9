"""The command line itself: help, usage errors, formats of errors, what is loaded for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.cli.support import trellis
from trellis_cli.main import build

HEAVY = ("nats", "opentelemetry", "pydantic", "rich", "uvloop", "uvicorn", "wasmtime", "yaml", "httpx", "cbor2")


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for info in group.registered_commands:
        assert info.name is not None
        yield (*path, info.name), info
    for below in group.registered_groups:
        assert below.name is not None
        assert below.typer_instance is not None
        if below.hidden is True:
            continue
        yield from commands(below.typer_instance, (*path, below.name))


def test_every_command_says_what_it_does_and_has_two_examples_of_itself() -> None:
    found = dict(commands(build()))
    assert ("up",) in found
    for path, info in found.items():
        assert info.callback.__doc__, path
        if info.hidden:
            continue
        heading, *examples = info.epilog.split("\n\n")
        assert heading == "Examples:"
        assert len(examples) >= 2, path
        assert all(example.startswith(f"trellis {' '.join(path)}") for example in examples), path


def test_the_command_line_alone_loads_nothing_heavy() -> None:
    code = f"import sys; from trellis_cli.main import build; build(); print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


async def test_help(tmp_path: Path) -> None:
    run = await trellis("--help", home=tmp_path)
    assert run.status == 0
    for word in ("up", "down", "host", "get", "app", "inspect", "call", "trace", "version"):
        assert f" {word} " in run.out
    run = await trellis("up", "-h", home=tmp_path)
    assert "trellis up --hosts 2" in run.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("inspect",), "Missing argument 'FILE'"),
        (("inspect", "x", "--nonsense"), "No such option"),
        (("inspect", "x", "--timeout", "soon"), "not a duration"),
        (("-o", "xml", "version"), "'xml'"),
        (("up", "--hosts", "0"), "--hosts"),
    ],
)
async def test_usage_errors_are_exit_code_2_and_point_to_help(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    run = await trellis(*arguments, home=tmp_path)
    assert run.status == 2
    assert run.out == ""
    assert said in run.err
    assert "--help" in run.err


@pytest.mark.parametrize("noun", ["get", "app", "link", "ctx"])
async def test_a_noun_alone_says_what_there_is_below_it(tmp_path: Path, noun: str) -> None:
    run = await trellis(noun, home=tmp_path)
    assert run.status == 2
    assert f"Usage: trellis {noun}" in run.out + run.err
    assert "Commands" in run.out + run.err


async def test_with_json_an_error_is_one_document(tmp_path: Path) -> None:
    for arguments in (("inspect", "none", "-o", "json"), ("-o", "json", "inspect", "none")):
        run = await trellis(*arguments, home=tmp_path)
        assert run.status == 3
        assert run.err == ""
        assert run.json["success"] is False
        assert run.json["code"] == "not-found"
        assert run.json["remedy"]
    run = await trellis("inspect", "-o", "json", home=tmp_path)
    assert run.status == 2
    assert run.json["success"] is False
    run = await trellis("inspect", "none", home=tmp_path, env={"TRELLIS_OUTPUT": "jsonl"})
    assert len(run.out.splitlines()) == 1
    assert json.loads(run.out)["code"] == "not-found"


async def test_the_version_is_a_flag_too(tmp_path: Path) -> None:
    run = await trellis("--version", home=tmp_path)
    assert (run.status, run.err) == (0, "")
    assert re.fullmatch(r"trellis \d+\.\d+\.\d+\S*\n", run.out)


async def test_labels_are_checked_before_anything_starts(tmp_path: Path) -> None:
    run = await trellis("up", "--label", "zone", "--data-dir", str(tmp_path / "data"), home=tmp_path)
    assert run.status == 1
    assert "zone" in run.err
    assert not (tmp_path / "data").exists()


async def test_down_without_anything_is_fine(tmp_path: Path) -> None:
    run = await trellis("down", home=tmp_path)
    assert run.status == 0
    assert "Nothing" in run.err
    assert (await trellis("down", "-o", "json", home=tmp_path)).json["stopped"] is False
