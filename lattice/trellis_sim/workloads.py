"""What a simulated host runs: the real state machine, with starts and stops that only take time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, assert_never

from trellis_host.state import (
    AbandonLaunch,
    ComponentSpec,
    Effect,
    Emit,
    HaltComponent,
    HaltProvider,
    HostState,
    LaunchComponent,
    LaunchProvider,
    Outcome,
    ProviderSpec,
    ReshapeComponent,
)
from trellis_lattice.control.host import ComponentDescription, HostInventory, ProviderDescription
from trellis_lattice.errors import Conflict, NotFound, TrellisError
from trellis_wadm.planner.commands import PrepareComponent, ScaleComponent, StartProvider, StopProvider

if TYPE_CHECKING:
    from trellis_sim.process import Process

__all__ = ["Workloads"]

_HALT = 0.05
"""Seconds until a provider has ended."""
_PREPARE = 1.0


class Workloads:
    """The workloads of one process. Effects on one workload happen one after the other."""

    def __init__(self, process: Process, labels: Mapping[str, str]) -> None:
        self._process = process
        self.state = HostState(process.id, labels)
        self._told = 0
        self._free: dict[str, float] = {}
        """When the last effect on a workload will have happened, by workload."""
        self._launching: dict[str, tuple[int, ComponentSpec | ProviderSpec]] = {}
        self._launches = 0
        self._known: set[str] = set()
        """Images that are compiled here."""
        self._prepared: tuple[str, ...] = ()
        self._inventory: HostInventory | None = None
        self._inventory_at = -1

    @property
    def revision(self) -> int:
        return self.state.revision + len(self._prepared)

    def inventory(self) -> HostInventory:
        if self._inventory is None or self._inventory_at != self.revision:
            state = self.state
            self._inventory_at = self.revision
            self._inventory = HostInventory(
                host_id=state.host_id,
                friendly_name=state.host_id,
                labels=dict(state.labels),
                components=tuple(
                    ComponentDescription(
                        id=c.id, image_ref=c.image, annotations=dict(c.annotations), max_instances=c.max_instances
                    )
                    for c in state.components
                ),
                providers=tuple(
                    ProviderDescription(id=p.id, image_ref=p.image, annotations=dict(p.annotations))
                    for p in state.providers
                ),
                prepared=self._prepared,
                starting=tuple(state.starting),
            )
        return self._inventory

    # control operations -------------------------------------------------------------------------------

    def scale(self, command: ScaleComponent, reply: Callable[[object], None]) -> None:
        spec = ComponentSpec(
            command.id,
            command.image,
            command.count,
            dict(command.annotations),
            tuple(command.config),
            dict(command.limits) or None,
        )
        self._apply(self.state.scale(spec, allow_update=command.allow_update), reply)

    def start_provider(self, command: StartProvider, reply: Callable[[object], None]) -> None:
        spec = ProviderSpec(command.id, command.image, dict(command.annotations), tuple(command.config))
        self._apply(self.state.start_provider(spec), reply)

    def stop_provider(self, command: StopProvider, reply: Callable[[object], None]) -> None:
        """Answered when it has ended."""
        outcome = self.state.stop_provider(command.id)
        if not outcome.answer.success:
            self._apply(outcome, reply)
            return
        self.execute(outcome.effects)
        self._process.universe.clock.at(self._free.get(command.id, 0.0), self._process.run, reply, None)

    def prepare(self, command: PrepareComponent, reply: Callable[[object], None]) -> None:
        reply(None)
        self._process.after(_PREPARE, self._prepared_now, command.image)

    def _prepared_now(self, image: str) -> None:
        self._known.add(image)
        if image not in self._prepared:
            self._prepared = (*self._prepared, image)
            self._changed()

    def put_label(self, key: str, value: str | None) -> None:
        self.execute((self.state.delete_label(key) if value is None else self.state.put_label(key, value)).effects)

    def _apply(self, outcome: Outcome, reply: Callable[[object], None]) -> None:
        self.execute(outcome.effects)
        reply(None if outcome.answer.success else _error(outcome.answer.message))

    # effects ------------------------------------------------------------------------------------------

    def execute(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case LaunchComponent(spec) | LaunchProvider(spec):
                    self._launch(spec)
                case ReshapeComponent(spec):
                    self._then(spec.id, 0.0, self._reshaped, spec)
                case HaltComponent(id):
                    self._then(id, 0.0, self._halted, id)
                case HaltProvider(id):
                    self._then(id, _HALT, self._halted, id)
                case AbandonLaunch(id):
                    self._abandon(id)
                case Emit(event):
                    workload = getattr(event, "component_id", None) or getattr(event, "provider_id", None) or ""
                    self._then(str(workload), 0.0, self._process.publish, event)
                case _:
                    assert_never(effect)
        if self.revision != self._told:
            self._changed()

    def _changed(self) -> None:
        self._told = self.revision
        self._process.changed()
        self._process.universe.on_change()

    def _then(self, workload: str, seconds: float, act: Callable[..., object], *args: object) -> None:
        clock = self._process.universe.clock
        begin = max(clock.now, self._free.get(workload, 0.0))
        self._free[workload] = begin + seconds
        if begin + seconds <= clock.now:
            act(*args)
        else:
            clock.at(begin + seconds, self._process.run, act, *args)

    def _launch(self, spec: ComponentSpec | ProviderSpec) -> None:
        universe = self._process.universe
        starts, random = universe.starts, universe.random
        known = spec.image in self._known
        seconds = random.uniform(0.02, starts.quick if known or not starts.slow else starts.slow)
        fails = universe.faulty and starts.failing > 0 and random.random() < starts.failing
        self._launches += 1
        self._launching[spec.id] = (self._launches, spec)
        self._then(spec.id, seconds, self._launched, self._launches, spec, fails)

    def _launched(self, number: int, spec: ComponentSpec | ProviderSpec, fails: bool) -> None:
        if self._launching.get(spec.id, (0, None))[0] != number:
            return
        del self._launching[spec.id]
        universe = self._process.universe
        universe.trace.add(universe.clock.now, self._process.id, "failed to start" if fails else "runs", spec.id)
        if isinstance(spec, ComponentSpec):
            self._known.add(spec.image)
            self.execute(
                self.state.component_failed(spec, "it would not start") if fails else self.state.component_ready(spec)
            )
        else:
            self.execute(
                self.state.provider_failed(spec, "it would not start") if fails else self.state.provider_ready(spec)
            )

    def _abandon(self, id: str) -> None:
        number, spec = self._launching.get(id, (0, None))
        if spec is not None:
            self._free[id] = self._process.universe.clock.now
            self._process.after(0.0, self._launched, number, spec, True)

    def _reshaped(self, spec: ComponentSpec) -> None:
        self.execute(self.state.component_reshaped(spec))

    def _halted(self, id: str) -> None:
        universe = self._process.universe
        universe.trace.add(universe.clock.now, self._process.id, "stopped", id)


def _error(message: str) -> TrellisError:
    return NotFound(message) if "not running" in message else Conflict(message)
