"""Asks providers how they are and tells the lattice (lattice-protocol 5.5).

First 5 s after its start, then every 30 s. A change is `health_check_passed` or `health_check_failed`, no change
`health_check_status`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from trellis_host.runtime.providers import RunningProvider
from trellis_lattice.events import Event, HealthCheckFailed, HealthCheckPassed, HealthCheckStatus

__all__ = ["health_event", "watch_health"]

FIRST = 5.0
INTERVAL = 30.0


def health_event(before: bool | None, healthy: bool, *, host_id: str, provider_id: str) -> Event:
    """What to say of a provider that was `before` (None: never asked) and is `healthy` now. Pure."""
    if before is healthy:
        return HealthCheckStatus(host_id=host_id, provider_id=provider_id)
    kind = HealthCheckPassed if healthy else HealthCheckFailed
    return kind(host_id=host_id, provider_id=provider_id)


async def watch_health(
    providers: Callable[[], Iterable[RunningProvider]], publish: Callable[[Event], Awaitable[object]], host_id: str
) -> None:
    """Runs until cancelled."""
    loop = asyncio.get_running_loop()
    due: dict[RunningProvider, float] = {}
    known: dict[RunningProvider, bool] = {}
    while True:
        now = loop.time()
        running = set(providers())
        due = {each: due.get(each, now + FIRST) for each in running}
        known = {each: state for each, state in known.items() if each in running}
        for provider in [each for each, time in due.items() if time <= now]:
            due[provider] = now + INTERVAL
            healthy = (await provider.health()).healthy
            await publish(health_event(known.get(provider), healthy, host_id=host_id, provider_id=provider.spec.id))
            known[provider] = healthy
        await asyncio.sleep(1.0)
