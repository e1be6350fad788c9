"""Durations and ages, as people write and read them."""

from __future__ import annotations

import re

from trellis_lattice.errors import RequestInvalid

__all__ = ["age", "duration", "parse_duration"]

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def parse_duration(text: str) -> float:
    """Seconds of `5s`, `1m30s`, `500ms`; a bare number is seconds. Raises `RequestInvalid`."""
    compact = text.strip().lower().replace(" ", "")
    if _NUMBER.fullmatch(compact):
        seconds = float(compact)
    elif compact and _PART.sub("", compact) == "":
        seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in _PART.findall(compact))
    else:
        raise RequestInvalid(
            f"{text[:40]!r} is not a duration.", remedy="Write it as 500ms, 30s, 2m or 1h; a bare number is seconds."
        )
    if not 0 < seconds <= 30 * 86400:
        raise RequestInvalid(f"{text[:40]!r} is out of range.", remedy="A duration is above zero and at most 30d.")
    return seconds


def age(seconds: float) -> str:
    """How old something is, coarsely: `7s`, `4m10s`, `3h12m`, `5d4h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s" if whole < 600 else f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def duration(nanoseconds: int) -> str:
    """How long something took, with three digits: `870 ns`, `12.4 µs`, `3.07 ms`, `1.25 s`."""
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)):
        if nanoseconds >= size:
            value = nanoseconds / size
            return (
                f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
            )
    return f"{max(0, nanoseconds)} ns"
