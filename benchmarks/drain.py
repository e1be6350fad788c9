"""Hosts that leave and images that change under load: no request may fail."""

from __future__ import annotations

from benchmarks.failover import run
from benchmarks.result import Result

__all__ = ["measure"]


async def measure() -> list[Result]:
    """A host that is asked to end, one that is drained, and a rolling update, each under 200 requests a second."""
    return [result for name in ("sigterm", "drain", "update") for result in await run(name)]
