"""What a benchmark reports is judged by its bound."""

import json
import math

import pytest

from benchmarks.__main__ import main
from benchmarks.result import at_least, at_most, percentile, reported


def test_bounds_are_judged_and_written_down():
    assert at_most("x", 1.6, "s", 1.6).ok
    assert not at_most("x", 1.61, "s", 1.6).ok
    assert at_least("x", 0.6, "s", 0.6).ok
    assert not at_least("x", 0.59, "s", 0.6).ok
    assert not at_most("x", math.nan, "s", 1).ok
    assert reported("x", 7, "s").ok
    assert at_least("x", 0.6, "s", 0.6).bound == "≥ 0.6"


def test_json_has_three_significant_digits():
    result = at_most("engine", 1.23456, "× floor", 1.5).as_json()
    assert json.loads(json.dumps(result)) == {
        "name": "engine",
        "value": 1.23,
        "unit": "× floor",
        "bound": "≤ 1.5",
        "ok": True,
    }
    assert reported("rate", 4711.9, "1/s").as_json()["value"] == 4710
    assert reported("nothing", 0.0, "1/s").as_json()["value"] == 0


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (0.5, 51), (0.99, 100), (1, 100)])
def test_percentile(share, expected):
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_an_unknown_benchmark_is_refused(capsys):
    assert main(["speed"]) == 2
    assert "no such benchmark: speed" in capsys.readouterr().err
