"""What one scaler's decision may look at, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trellis_wadm.planner.commands import ScaleComponent, StartProvider
from trellis_wadm.planner.result import Condition, Placement, Step
from trellis_wadm.planner.world import Host, Observed, RunningComponent, RunningProvider

__all__ = ["ConfigState", "Outcome", "View"]


@dataclass(frozen=True, slots=True)
class ConfigState:
    """Whether a config may be relied on: `step` is the key of the command that writes it in this pass."""

    ok: bool
    step: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """The world as seen while deciding about one scaler; `load` counts workloads per host, planned ones included."""

    observed: Observed
    now: float
    load: Mapping[str, int] = field(default_factory=dict)
    configs: Mapping[str, ConfigState] = field(default_factory=dict)

    @property
    def hosts(self) -> list[Host]:
        return [host for _, host in sorted(self.observed.hosts.items())]

    def expected_component(self, host: Host, id: str) -> RunningComponent | None:
        """What runs there, or will once the command that was sent takes effect."""
        attempt = self.observed.attempts.get(f"component/{host.id}/{id}")
        command = attempt.command if attempt and not attempt.settled else None
        if isinstance(command, ScaleComponent) and command.count > 0 and host.live:
            return RunningComponent(id, command.image, command.count, command.annotations)
        return host.components.get(id)

    def expected_provider(self, host: Host, id: str) -> RunningProvider | None:
        """What runs there, or will once the command that was sent takes effect."""
        attempt = self.observed.attempts.get(f"provider/{host.id}/{id}")
        command = attempt.command if attempt and not attempt.settled else None
        if isinstance(command, StartProvider) and host.live:
            return RunningProvider(id, command.image, command.annotations)
        return host.providers.get(id)

    def needs(self, config: tuple[str, ...]) -> tuple[frozenset[str], list[Condition]]:
        """The commands that must succeed before these configs can be used, and what stands against it."""
        steps: set[str] = set()
        missing: list[Condition] = []
        for name in dict.fromkeys(config):
            state = self.configs.get(name, ConfigState(False, problem=f"Specified configuration {name} does not exist"))
            if state.step is not None:
                steps.add(state.step)
            elif not state.ok:
                missing.append(Condition("config-missing", state.problem, fatal=True))
        return frozenset(steps), missing


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scaler decided: what to do, and what does not hold besides what these steps will mend."""

    steps: tuple[Step, ...] = ()
    conditions: tuple[Condition, ...] = ()
    placements: tuple[Placement, ...] = ()
