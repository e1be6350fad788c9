"""What a benchmark reports: one number, what bounds it, and whether it is within."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Result", "at_least", "at_most", "percentile", "reported"]


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table. `bound` is text ("≤ 1.5"), empty where a number is only reported."""

    name: str
    value: float
    unit: str
    bound: str
    ok: bool

    def as_json(self) -> dict[str, object]:
        """The entry of results.json."""
        return {**asdict(self), "value": _rounded(self.value)}


def at_most(name: str, value: float, unit: str, bound: float) -> Result:
    """A number that must not exceed its bound."""
    return _bounded(name, value, unit, "≤", bound)


def at_least(name: str, value: float, unit: str, bound: float) -> Result:
    """A number that must reach its bound."""
    return _bounded(name, value, unit, "≥", bound)


def reported(name: str, value: float, unit: str) -> Result:
    """A number without a bound."""
    return Result(name, value, unit, "", True)


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample below which `share` (0 to 1) of them lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else math.nan


def _bounded(name: str, value: float, unit: str, sign: Literal["≤", "≥"], bound: float) -> Result:
    ok = value <= bound if sign == "≤" else value >= bound
    return Result(name, value, unit, f"{sign} {bound:g}", ok)


def _rounded(value: float) -> float:
    """Three significant digits: more would be noise."""
    if not math.isfinite(value) or value == 0:
        return value
    return round(value, 2 - math.floor(math.log10(abs(value))))
