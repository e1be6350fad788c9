"""`trellis sim`, as somebody types it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from tests.wadm.manifests import application, component, group, link, provider, spread
from trellis_cli.main import main

COUNTER = application("counter", component("c", spread(4), link("kv")), provider("kv"))


def sim(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["sim", *arguments])
    out, err = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, out, err


@pytest.fixture
def counter(tmp_path: Path) -> str:
    path = tmp_path / "counter.yaml"
    path.write_text(yaml.safe_dump(COUNTER))
    return str(path)


def test_figures_for_people_and_for_programs(counter: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = sim(capsys, counter, "--hosts", "6", "--kill-rate", "0.5", "--seed", "7")
    same, data, _ = sim(capsys, counter, "--hosts", "6", "--kill-rate", "0.5", "--seed", "7", "-o", "json")

    found = json.loads(data)
    assert (code, same, found["held"], found["runs"]) == (0, 0, True, 1)
    assert "Every property held." in text
    assert f"{found['worst_failover']:.2f} s, of {found['failovers']}" in text
    assert found["commands"]["ScaleComponent"] > 4


def test_labels_and_what_fits_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "zoned.yaml"
    path.write_text(
        yaml.safe_dump(application("zoned", component("c", spread(2, group("a", zone="a"), group("d", zone="d")))))
    )

    code, text, _ = sim(capsys, str(path), "--labels", "zone=a,b,c", "--kill-rate", "0")

    assert code == 0
    assert "No host fits the spread d of zoned-c (zone=d)" in text


def test_a_violation_ends_with_one_and_says_how_to_see_it_again(
    counter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Images that start more slowly than the run lasts can never be there in the end.
    arguments = [counter, "--slow-start", "1h", "--kill-rate", "0", "--trace", "5"]
    code, text, _ = sim(capsys, *arguments)
    again, data, _ = sim(capsys, *arguments, "-o", "json")

    violation = json.loads(data)["violations"][0]
    assert (code, again, violation["property"]) == (1, 1, "convergence")
    assert len(violation["trace"]) == 5
    replay = shlex.split(violation["replay"])
    assert replay[:3] == ["trellis", "sim", counter]
    assert violation["replay"] in text
    assert sim(capsys, *replay[2:], "--trace", "5")[1] == text


def test_bad_input_is_said(counter: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "too short" in sim(capsys, counter, "--duration", "5s")[2]
    assert "zone=a,b,c" in sim(capsys, counter, "--labels", "zone")[2]
    assert sim(capsys, str(tmp_path / "nothing.yaml"))[0] == 3
