"""What a host runs, as a synchronous machine: a request or a result goes in, effects come out.

The laws of this file:

- It decides and does nothing: effects are executed by the shell (`host.py`), whose results come back as
  further inputs (`component_ready`, `component_failed`, …).
- One launch per component id and per provider id at a time. A request that arrives meanwhile is remembered;
  the latest wins and is looked at when the launch has ended. A stop ends the launch of a provider.
- An id is that of a component or of a provider, never both: calls could not tell them apart.
- Semantics, answers and events are those of lattice-protocol 1.5 and 1.6, with two differences its clients
  do not notice: a scale reports the annotations of the request (9.4), and a first start is announced once.
- `revision` grows with every change of what an inventory would say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from trellis_lattice.events.component import ComponentScaled, ComponentScaleFailed
from trellis_lattice.events.host import LabelsChanged
from trellis_lattice.events.provider import ProviderStarted, ProviderStartFailed, ProviderStopped

__all__ = [
    "AbandonLaunch",
    "Answer",
    "ComponentSpec",
    "Effect",
    "Emit",
    "HaltComponent",
    "HaltProvider",
    "HostState",
    "LaunchComponent",
    "LaunchProvider",
    "Outcome",
    "ProviderSpec",
    "ReshapeComponent",
]


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """A component as asked for. `max_instances` bounds its concurrent invocations on this host."""

    id: str
    image: str
    max_instances: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    config: tuple[str, ...] = ()
    limits: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A provider as asked for."""

    id: str
    image: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    config: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LaunchComponent:
    """Fetch, compile and start; if the id already runs, the new one takes over when it is ready."""

    spec: ComponentSpec


@dataclass(frozen=True, slots=True)
class ReshapeComponent:
    """New bounds, config or limits for a running component; its code stays loaded."""

    spec: ComponentSpec


@dataclass(frozen=True, slots=True)
class HaltComponent:
    id: str


@dataclass(frozen=True, slots=True)
class LaunchProvider:
    spec: ProviderSpec


@dataclass(frozen=True, slots=True)
class HaltProvider:
    id: str


@dataclass(frozen=True, slots=True)
class AbandonLaunch:
    """Nobody wants any more what is being launched: end that, at once. It then fails."""

    id: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Publish an event."""

    event: (
        ComponentScaled | ComponentScaleFailed | ProviderStarted | ProviderStartFailed | ProviderStopped | LabelsChanged
    )


Effect: TypeAlias = (
    LaunchComponent | ReshapeComponent | HaltComponent | LaunchProvider | HaltProvider | AbandonLaunch | Emit
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the asker is told at once."""

    success: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    answer: Answer
    effects: tuple[Effect, ...] = ()


@dataclass(slots=True)
class _Component:
    running: ComponentSpec | None = None
    launching: ComponentSpec | None = None
    queued: ComponentSpec | None = None


@dataclass(slots=True)
class _Provider:
    spec: ProviderSpec
    ready: bool = False
    stop_wanted: bool = False


_OK = Answer(True)


class HostState:
    """Components, providers and labels of the host `host_id`."""

    def __init__(self, host_id: str, labels: Mapping[str, str]) -> None:
        self.host_id = host_id
        self.labels = dict(labels)
        self.revision = 0
        self._components: dict[str, _Component] = {}
        self._providers: dict[str, _Provider] = {}

    @property
    def components(self) -> list[ComponentSpec]:
        """What runs now, by id; launches are not in it."""
        return [entry.running for _, entry in sorted(self._components.items()) if entry.running]

    @property
    def providers(self) -> list[ProviderSpec]:
        return [entry.spec for _, entry in sorted(self._providers.items()) if entry.ready]

    def runs_component(self, component_id: str) -> bool:
        return component_id in self._components

    def runs_provider(self, provider_id: str) -> bool:
        return provider_id in self._providers

    # components ---------------------------------------------------------------------------------------

    def scale(self, wanted: ComponentSpec, *, allow_update: bool = False) -> Outcome:
        """Start, resize or stop `wanted.id`; always acknowledged at once."""
        entry = self._components.get(wanted.id)
        if entry is not None and entry.launching is not None:
            entry.queued = wanted
            return Outcome(_OK)
        if entry is None or entry.running is None:
            return self._start_or_nothing(wanted)
        return self._rescale(entry, entry.running, wanted, allow_update=allow_update)

    def update(self, component_id: str, image: str, annotations: Mapping[str, str] | None) -> Outcome:
        """Replace the image of a running component; both exist until the new one is ready."""
        entry = self._components.get(component_id)
        if entry is None or entry.running is None:
            return Outcome(Answer(False, f"component {component_id} not found"))
        old = entry.running
        if old.image == image:
            return Outcome(Answer(True, f"component {component_id} already updated to {image}"))
        if entry.launching is not None:
            return Outcome(Answer(False, f"component {component_id} is already being updated; wait for it to end"))
        new = replace(old, image=image, annotations=annotations if annotations is not None else old.annotations)
        entry.launching = new
        message = f"component {component_id} updating from {old.image} to {image}"
        return Outcome(Answer(True, message), (LaunchComponent(new),))

    def component_ready(self, spec: ComponentSpec) -> tuple[Effect, ...]:
        """The launch of `spec` has succeeded."""
        entry = self._components[spec.id]
        old, queued = entry.running, entry.queued
        entry.running, entry.launching, entry.queued = spec, None, None
        self.revision += 1
        effects: list[Effect] = [self._scaled(spec)]
        if old is not None and old.image != spec.image:
            effects.append(self._scaled(replace(old, max_instances=0)))
        if queued is not None:
            effects += self.scale(queued, allow_update=True).effects
        return tuple(effects)

    def component_failed(
        self, spec: ComponentSpec, error: str, failure: dict[str, Any] | None = None
    ) -> tuple[Effect, ...]:
        """The launch of `spec` has failed; what ran before keeps running. `failure`: wire form of the error."""
        entry = self._components[spec.id]
        queued, entry.launching, entry.queued = entry.queued, None, None
        if entry.running is None:
            del self._components[spec.id]
        effects: list[Effect] = [self._scale_failed(spec, error, failure)]
        if queued is not None and queued != spec:
            effects += self.scale(queued, allow_update=True).effects
        return tuple(effects)

    def _start_or_nothing(self, wanted: ComponentSpec) -> Outcome:
        if wanted.max_instances == 0:
            return Outcome(_OK, (self._scaled(wanted),))
        if wanted.id in self._providers:
            return Outcome(_OK, (self._scale_failed(wanted, f"The id {wanted.id!r} is that of a provider here."),))
        self._components[wanted.id] = _Component(launching=wanted)
        return Outcome(_OK, (LaunchComponent(wanted),))

    def _rescale(self, entry: _Component, old: ComponentSpec, wanted: ComponentSpec, *, allow_update: bool) -> Outcome:
        if wanted.max_instances == 0:
            del self._components[wanted.id]
            self.revision += 1
            return Outcome(_OK, (HaltComponent(wanted.id), self._scaled(replace(old, max_instances=0))))
        other_image = bool(wanted.image) and wanted.image != old.image
        if other_image and allow_update:
            entry.launching = wanted
            message = f"Requested to scale existing component to a different image reference: {old.image} != "
            return Outcome(
                Answer(True, f"{message}{wanted.image}. The component will be updated."), (LaunchComponent(wanted),)
            )
        kept = replace(wanted, image=old.image)
        answer = _OK
        if other_image:
            answer = Answer(
                True,
                f"Requested to scale existing component to a different image reference: {old.image} != {wanted.image}. "
                "The image reference was left alone: use an update to change it.",
            )
        if kept == old:
            return Outcome(answer, (self._scaled(kept),))
        entry.running = kept
        self.revision += 1
        return Outcome(answer, (ReshapeComponent(kept),))

    def component_reshaped(self, spec: ComponentSpec) -> tuple[Effect, ...]:
        """A running component is now as `spec` says."""
        return (self._scaled(spec),)

    def reshape_failed(
        self, spec: ComponentSpec, still: ComponentSpec, error: str, failure: dict[str, Any] | None = None
    ) -> tuple[Effect, ...]:
        """A running component could not become as `spec` says; it goes on as `still` says."""
        entry = self._components.get(spec.id)
        if entry is not None and entry.running == spec:
            entry.running = still
            self.revision += 1
        return (self._scale_failed(spec, error, failure),)

    def _scaled(self, spec: ComponentSpec) -> Emit:
        return Emit(
            ComponentScaled(
                component_id=spec.id,
                host_id=self.host_id,
                image_ref=spec.image,
                max_instances=spec.max_instances,
                annotations=dict(spec.annotations),
            )
        )

    def _scale_failed(self, spec: ComponentSpec, error: str, failure: dict[str, Any] | None = None) -> Emit:
        return Emit(
            ComponentScaleFailed(
                component_id=spec.id,
                host_id=self.host_id,
                image_ref=spec.image,
                max_instances=spec.max_instances,
                annotations=dict(spec.annotations),
                error=error,
                failure=failure,
            )
        )

    # providers ----------------------------------------------------------------------------------------

    def start_provider(self, wanted: ProviderSpec) -> Outcome:
        if wanted.id in self._providers:
            return Outcome(Answer(False, "provider with that ID is already running"))
        if wanted.id in self._components:
            return Outcome(Answer(False, f"component with the ID {wanted.id} is already running"))
        self._providers[wanted.id] = _Provider(wanted)
        return Outcome(Answer(True, "successfully started provider"), (LaunchProvider(wanted),))

    def provider_ready(self, spec: ProviderSpec) -> tuple[Effect, ...]:
        entry = self._providers[spec.id]
        entry.ready = True
        self.revision += 1
        started = Emit(
            ProviderStarted(
                provider_id=spec.id,
                host_id=self.host_id,
                image_ref=spec.image,
                annotations=dict(spec.annotations),
            )
        )
        return (started, *self.stop_provider(spec.id).effects) if entry.stop_wanted else (started,)

    def provider_failed(
        self, spec: ProviderSpec, error: str, failure: dict[str, Any] | None = None
    ) -> tuple[Effect, ...]:
        """The launch failed, or the running provider died for good. `failure`: wire form of the error."""
        entry = self._providers.pop(spec.id)
        if entry.ready:
            self.revision += 1
        failed = Emit(
            ProviderStartFailed(
                provider_id=spec.id,
                provider_ref=spec.image,
                host_id=self.host_id,
                error=error,
                failure=failure,
            )
        )
        return (failed, self._stopped(spec)) if entry.stop_wanted else (failed,)

    def stop_provider(self, provider_id: str) -> Outcome:
        entry = self._providers.get(provider_id)
        if entry is None:
            return Outcome(Answer(False, "provider with that ID is not running"))
        if not entry.ready:
            entry.stop_wanted = True
            return Outcome(Answer(True, "successfully stopped provider"), (AbandonLaunch(provider_id),))
        del self._providers[provider_id]
        self.revision += 1
        return Outcome(
            Answer(True, "successfully stopped provider"), (HaltProvider(provider_id), self._stopped(entry.spec))
        )

    def _stopped(self, spec: ProviderSpec) -> Emit:
        return Emit(
            ProviderStopped(
                host_id=self.host_id, provider_id=spec.id, annotations=dict(spec.annotations), reason="stop"
            )
        )

    def provider_changed(self) -> None:
        """The description of a provider says something new: a link it refuses, or accepts again."""
        self.revision += 1

    # labels -------------------------------------------------------------------------------------------

    def put_label(self, key: str, value: str) -> Outcome:
        if key.lower().startswith("hostcore."):
            return Outcome(Answer(False, "hostcore.* labels cannot be set dynamically"))
        self.labels[key] = value
        self.revision += 1
        return Outcome(Answer(True, "successfully put label"), (self._labels_changed(),))

    def delete_label(self, key: str) -> Outcome:
        if key not in self.labels:
            return Outcome(Answer(True, "successfully deleted label (no such label)"))
        del self.labels[key]
        self.revision += 1
        return Outcome(Answer(True, "successfully deleted label"), (self._labels_changed(),))

    def _labels_changed(self) -> Emit:
        return Emit(LabelsChanged(host_id=self.host_id, labels=dict(self.labels)))
