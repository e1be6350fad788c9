"""`wasi:clocks`: monotonic-clock, wall-clock, timezone (UTC only: a host's local time is nobody's business)."""

from __future__ import annotations

from typing import Any

from trellis_host.engine.api import HostFunction, HostInterface
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.io import POLLABLE
from trellis_host.wasi.pollables import Timer
from trellis_host.wasi.version import named

__all__ = ["CLOCKS"]

_SECOND = 1_000_000_000


def _monotonic_now(context: WasiContext) -> int:
    return context.settings.monotonic()


def _monotonic_resolution(context: WasiContext) -> int:
    return 1


def _subscribe_instant(context: WasiContext, when: int) -> Timer:
    return Timer(context.settings.monotonic, when)


def _subscribe_duration(context: WasiContext, duration: int) -> Timer:
    clock = context.settings.monotonic
    return Timer(clock, clock() + duration)


def _wall_now(context: WasiContext) -> dict[str, int]:
    seconds, nanoseconds = divmod(context.settings.wall(), _SECOND)
    return {"seconds": seconds, "nanoseconds": nanoseconds}


def _wall_resolution(context: WasiContext) -> dict[str, int]:
    return {"seconds": 0, "nanoseconds": 1}


def _display(context: WasiContext, when: dict[str, int]) -> dict[str, Any]:
    return {"utc-offset": 0, "name": "UTC", "in-daylight-saving-time": False}


def _utc_offset(context: WasiContext, when: dict[str, int]) -> int:
    return 0


CLOCKS: tuple[HostInterface, ...] = (
    HostInterface(
        named("clocks", "monotonic-clock"),
        {
            "now": HostFunction(_monotonic_now),
            "resolution": HostFunction(_monotonic_resolution),
            "subscribe-instant": HostFunction(_subscribe_instant),
            "subscribe-duration": HostFunction(_subscribe_duration),
        },
        {"pollable": POLLABLE},
    ),
    HostInterface(
        named("clocks", "wall-clock"),
        {"now": HostFunction(_wall_now), "resolution": HostFunction(_wall_resolution)},
    ),
    HostInterface(
        named("clocks", "timezone"),
        {"display": HostFunction(_display), "utc-offset": HostFunction(_utc_offset)},
    ),
)
