"""Asks providers how they are, tells the lattice (lattice-protocol 5.5), and starts again what has failed.

First 5 s after its start, then every 30 s, and sooner while it fails. A change is `health_check_passed` or
`health_check_failed`, no change `health_check_status`.

The laws of this file: one bad answer is no failure, a few in a row are; a provider is started again with growing
pauses for as long as it is wanted, visibly: how often, and what is wrong, stand in the inventory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from trellis_host.effects import ProviderSpec
from trellis_host.runtime.background import Background
from trellis_host.runtime.providers import RunningProvider
from trellis_lattice.errors import TrellisError
from trellis_lattice.events import Event, HealthCheckFailed, HealthCheckPassed, HealthCheckStatus
from trellis_provider_sdk import Health

__all__ = ["Supervision", "Watched", "health_event"]

FIRST = 5.0
INTERVAL = 30.0
AGAIN = 5.0
"""Seconds until a provider that was unhealthy is asked again."""
TOLERATED = 3
"""Answers in a row, all bad, after which it is started again."""
LONGEST_PAUSE = 60.0
TICK = 1.0


def health_event(before: bool | None, healthy: bool, *, host_id: str, provider_id: str) -> Event:
    """What to say of a provider that was `before` (None: never asked) and is `healthy` now. Pure."""
    if before is healthy:
        return HealthCheckStatus(host_id=host_id, provider_id=provider_id)
    kind = HealthCheckPassed if healthy else HealthCheckFailed
    return kind(host_id=host_id, provider_id=provider_id)


@dataclass(slots=True)
class Watched:
    """What is known of one provider. `due`: when it is looked at next (loop time)."""

    spec: ProviderSpec
    due: float
    healthy: bool | None = None
    failures: int = 0
    """Bad answers in a row."""
    restarts: int = 0
    in_vain: int = 0
    """Restarts since it was last healthy."""
    problem: str = ""
    busy: bool = False

    def answered(self, health: Health, now: float, *, runs: bool) -> bool:
        """Takes note of an answer; whether to start it again. Pure but for itself."""
        self.healthy = health.healthy
        if health.healthy:
            self.failures, self.in_vain, self.problem, self.due = 0, 0, "", now + INTERVAL
            return False
        self.failures += 1
        self.due = now + AGAIN
        if runs:
            self.problem = f"It is unhealthy: {health.message}" if health.message else "It is unhealthy."
        return not runs or self.failures >= TOLERATED

    def started_again(self, error: TrellisError | None, now: float) -> None:
        """Takes note of a restart. Pure but for itself."""
        self.restarts += 1
        self.failures = 0
        self.in_vain += 1
        pause = min(LONGEST_PAUSE, 2.0 ** min(self.in_vain - 1, 10))
        self.due = now + max(pause, FIRST if error is None else 0.0)
        if error is not None:
            self.problem = f"It does not run: {error}"


class Supervision:
    """Watches the providers of one host. `restart` starts one again and says why that failed."""

    def __init__(
        self,
        host_id: str,
        tasks: Background,
        *,
        wanted: Callable[[], Iterable[ProviderSpec]],
        running: Callable[[], Iterable[RunningProvider]],
        restart: Callable[[str], Awaitable[TrellisError | None]],
        publish: Callable[[Event], Awaitable[object]],
    ) -> None:
        self._host_id = host_id
        self._tasks = tasks
        self._wanted = wanted
        self._running = running
        self._restart = restart
        self._publish = publish
        self._watched: dict[str, Watched] = {}

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong with each provider that is not well."""
        return {id: each.problem for id, each in self._watched.items() if each.problem}

    def restarts(self, provider_id: str) -> int:
        """How often it was started again because it had failed."""
        watched = self._watched.get(provider_id)
        return watched.restarts if watched is not None else 0

    async def run(self) -> None:
        """Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            wanted = {spec.id: spec for spec in self._wanted()}
            for id in [id for id, each in self._watched.items() if wanted.get(id) is not each.spec]:
                del self._watched[id]
            for id, spec in wanted.items():
                watched = self._watched.get(id)
                if watched is None:
                    watched = self._watched[id] = Watched(spec, now + FIRST)
                if watched.due <= now and not watched.busy:
                    watched.busy = True
                    self._tasks.create_task(self._look(watched), name=f"health of {id}")
            await asyncio.sleep(TICK)

    async def _look(self, watched: Watched) -> None:
        loop, id, before = asyncio.get_running_loop(), watched.spec.id, watched.healthy
        try:
            running = next((each for each in self._running() if each.spec.id == id), None)
            health = await running.health() if running is not None else Health(False, "it does not run")
            again = watched.answered(health, loop.time(), runs=running is not None)
            await self._publish(health_event(before, health.healthy, host_id=self._host_id, provider_id=id))
            if again and self._watched.get(id) is watched:
                watched.started_again(await self._restart(id), loop.time())
        finally:
            watched.busy = False
