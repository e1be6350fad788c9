"""What a host runs, as a synchronous machine: a request or a result goes in, effects come out.

The laws of this file:

- It decides and does nothing: effects are executed by the shell (`host.py`), those on one workload one after the
  other, whose results come back as further inputs (`component_ready`, `component_failed`, …).
- One launch per component id and per provider id at a time. A request that arrives meanwhile is remembered, and what
  the remembered ones come to is looked at when the launch has ended. What nobody wants any more is ended at once: a
  stop ends every launch, a request for another image that of the image it replaces; what ran before goes on.
- Requests may come twice, late, or in any order: what runs in the end is what they come to one after the other.
- An id is that of a component or of a provider, never both: calls could not tell them apart.
- Semantics, answers and events are those of lattice-protocol 1.5 and 1.6, with differences its clients do not notice:
  a scale reports the annotations of the request (9.4), and keeps the old ones if it has none; a first start is
  announced once; with `allow_update`, which none of them can set (9.5), the old image goes on as it was until the new
  one runs.
- `revision` grows with every change of what an inventory would say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trellis_host import news
from trellis_host.effects import (
    AbandonLaunch,
    Answer,
    ComponentSpec,
    Effect,
    Emit,
    HaltComponent,
    HaltProvider,
    LaunchComponent,
    LaunchProvider,
    Outcome,
    ProviderSpec,
    ReshapeComponent,
)
from trellis_lattice.events.host import LabelsChanged

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
class _Request:
    """What is asked of a component while it is being launched. `replaces`: also its image is to be exchanged."""

    spec: ComponentSpec
    replaces: bool


@dataclass(slots=True)
class _Component:
    """`running` is served; of `launching` the shell has not said yet how it ended."""

    running: ComponentSpec | None = None
    launching: ComponentSpec | None = None
    queued: _Request | None = None
    superseded: bool = False
    """Nobody wants the launch any more: its failure is no news."""
    stopped: bool = False
    """Nobody wants the launch any more, and what it may still bring forth is halted after it."""


@dataclass(slots=True)
class _Provider:
    spec: ProviderSpec
    ready: bool = False
    stop_wanted: bool = False
    queued: ProviderSpec | None = None
    """To be started when the stop has taken effect."""


_OK = Answer(True)
_STARTED = Answer(True, "successfully started provider")
_STOPPED = Answer(True, "successfully stopped provider")
_LEFT_ALONE = "The image reference was left alone: use an update to change it."


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

    @property
    def starting(self) -> list[str]:
        """Ids of what is being launched, also where something older runs under that id."""
        launches = [id for id, entry in self._components.items() if entry.launching is not None and not entry.stopped]
        launches += [id for id, entry in self._providers.items() if not entry.ready]
        return sorted(launches)

    def runs_component(self, component_id: str) -> bool:
        entry = self._components.get(component_id)
        return entry is not None and not (entry.stopped and entry.queued is None)

    def runs_provider(self, provider_id: str) -> bool:
        return provider_id in self._providers

    # components ---------------------------------------------------------------------------------------

    def scale(self, wanted: ComponentSpec, *, allow_update: bool = False) -> Outcome:
        """Start, resize or stop `wanted.id`; always acknowledged at once."""
        entry = self._components.get(wanted.id)
        if wanted.max_instances == 0:
            return self._stop(entry, wanted)
        if entry is None:
            return self._start(wanted)
        if not wanted.annotations and (latest := _latest(entry)) is not None:
            # who scales by hand says nothing of whose it is: it stays theirs
            wanted = replace(wanted, annotations=latest.annotations)
        if entry.launching is not None:
            answer = _OK if entry.running is None else _scale_answer(entry.running, wanted, allow_update)
            return Outcome(answer, self._later(entry, entry.launching, wanted, allow_update))
        assert entry.running is not None
        return self._rescale(entry, entry.running, wanted, allow_update=allow_update)

    def update(self, component_id: str, image: str, annotations: Mapping[str, str] | None) -> Outcome:
        """Replace the image of a running component; both exist until the new one is ready."""
        entry = self._components.get(component_id)
        if entry is None or entry.running is None:
            return Outcome(Answer(False, f"component {component_id} not found"))
        old = entry.running
        latest = entry.launching or old
        if entry.queued is not None:
            latest = entry.queued.spec if entry.queued.replaces else replace(entry.queued.spec, image=latest.image)
        if latest.image == image == old.image:
            return Outcome(Answer(True, f"component {component_id} already updated to {image}"))
        answer = Answer(True, f"component {component_id} updating from {old.image} to {image}")
        new = replace(latest, image=image, annotations=annotations or latest.annotations)
        if entry.launching is not None:
            return Outcome(answer, self._later(entry, entry.launching, new, True) if new != latest else ())
        entry.launching = new
        self.revision += 1
        return Outcome(answer, (LaunchComponent(new),))

    def component_ready(self, spec: ComponentSpec) -> tuple[Effect, ...]:
        """The launch of `spec` has succeeded."""
        entry = self._components[spec.id]
        if entry.stopped:
            return self._launch_over(spec.id, entry)
        old, entry.running = entry.running, spec
        self.revision += 1
        effects: list[Effect] = [news.scaled(self.host_id, spec)]
        if old is not None and old.image != spec.image:
            effects.append(news.scaled(self.host_id, replace(old, max_instances=0)))
        return (*effects, *self._launch_over(spec.id, entry))

    def component_failed(
        self, spec: ComponentSpec, error: str, failure: dict[str, Any] | None = None
    ) -> tuple[Effect, ...]:
        """The launch of `spec` has failed; what ran before keeps running. `failure`: wire form of the error."""
        entry = self._components[spec.id]
        if entry.superseded or entry.stopped:
            return self._launch_over(spec.id, entry)
        if entry.queued is not None and entry.queued.spec == spec:
            entry.queued = None  # the same once more would fail once more
        return (news.scale_failed(self.host_id, spec, error, failure), *self._launch_over(spec.id, entry))

    def _launch_over(self, id: str, entry: _Component) -> tuple[Effect, ...]:
        """On to what was asked for meanwhile."""
        queued = entry.queued
        self.revision += 1
        if entry.running is None:
            del self._components[id]
        entry.launching, entry.queued, entry.superseded, entry.stopped = None, None, False, False
        return self.scale(queued.spec, allow_update=queued.replaces).effects if queued is not None else ()

    def _later(
        self, entry: _Component, launching: ComponentSpec, wanted: ComponentSpec, replaces: bool
    ) -> tuple[Effect, ...]:
        """Remembers a request until the launch has ended, and ends that if its image is not wanted any more."""
        afresh = entry.stopped and entry.queued is None
        entry.queued = _merged(entry.queued, wanted, replaces or afresh)
        gone = entry.queued.replaces and entry.queued.spec.image != launching.image
        if entry.stopped or entry.superseded or not gone:
            return ()
        entry.superseded = True
        return (AbandonLaunch(wanted.id),)

    def _start(self, wanted: ComponentSpec) -> Outcome:
        if wanted.id in self._providers:
            return Outcome(
                _OK, (news.scale_failed(self.host_id, wanted, f"The id {wanted.id!r} is that of a provider here."),)
            )
        self._components[wanted.id] = _Component(launching=wanted)
        self.revision += 1
        return Outcome(_OK, (LaunchComponent(wanted),))

    def _stop(self, entry: _Component | None, wanted: ComponentSpec) -> Outcome:
        """Ends what runs and what is launched. The event tells of what was there (1.5)."""
        if entry is None or (entry.stopped and entry.queued is None):
            return Outcome(_OK, (news.scaled(self.host_id, wanted),))
        if entry.stopped:
            entry.queued = None
            return Outcome(_OK, (news.scaled(self.host_id, wanted),))
        there = entry.running or entry.launching or wanted
        over: tuple[Effect, ...] = (
            HaltComponent(wanted.id),
            news.scaled(self.host_id, replace(there, max_instances=0)),
        )
        if entry.running is not None:
            self.revision += 1
        if entry.launching is None:
            del self._components[wanted.id]
            return Outcome(_OK, over)
        entry.running, entry.queued, entry.stopped = None, None, True
        return Outcome(_OK, (AbandonLaunch(wanted.id), *over))

    def _rescale(self, entry: _Component, old: ComponentSpec, wanted: ComponentSpec, *, allow_update: bool) -> Outcome:
        answer = _scale_answer(old, wanted, allow_update)
        if _other_image(old, wanted) and allow_update:
            entry.launching = wanted
            self.revision += 1
            return Outcome(answer, (LaunchComponent(wanted),))
        kept = replace(wanted, image=old.image)
        if kept == old:
            return Outcome(answer, (news.scaled(self.host_id, kept),))
        entry.running = kept
        self.revision += 1
        return Outcome(answer, (ReshapeComponent(kept),))

    def component_reshaped(self, spec: ComponentSpec) -> tuple[Effect, ...]:
        """A running component is now as `spec` says."""
        return (news.scaled(self.host_id, spec),)

    def reshape_failed(
        self, spec: ComponentSpec, still: ComponentSpec, error: str, failure: dict[str, Any] | None = None
    ) -> tuple[Effect, ...]:
        """A running component could not become as `spec` says; it goes on as `still` says, unless it was stopped."""
        entry = self._components.get(spec.id)
        if entry is None or entry.running is None:
            return ()
        if entry.running == spec:
            entry.running = still
            self.revision += 1
        return (news.scale_failed(self.host_id, spec, error, failure),)

    # providers ----------------------------------------------------------------------------------------

    def start_provider(self, wanted: ProviderSpec) -> Outcome:
        entry = self._providers.get(wanted.id)
        if entry is not None and entry.stop_wanted and entry.queued is None:
            entry.queued = wanted
            return Outcome(_STARTED)
        if entry is not None:
            return Outcome(Answer(False, "provider with that ID is already running"))
        if wanted.id in self._components:
            return Outcome(Answer(False, f"component with the ID {wanted.id} is already running"))
        self._providers[wanted.id] = _Provider(wanted)
        self.revision += 1
        return Outcome(_STARTED, (LaunchProvider(wanted),))

    def provider_ready(self, spec: ProviderSpec) -> tuple[Effect, ...]:
        entry = self._providers[spec.id]
        entry.ready = True
        self.revision += 1
        started = news.started(self.host_id, spec)
        if not entry.stop_wanted:
            return (started,)
        return (started, *self.stop_provider(spec.id).effects, *self._start_queued(entry))

    def provider_restarted(self, spec: ProviderSpec) -> tuple[Effect, ...]:
        """A running provider had failed, and was started again."""
        self.revision += 1
        return (news.started(self.host_id, spec),)

    def provider_failed(
        self, spec: ProviderSpec, error: str, failure: dict[str, Any] | None = None
    ) -> tuple[Effect, ...]:
        """The launch failed, or the running provider died for good. `failure`: wire form of the error."""
        entry = self._providers.pop(spec.id)
        self.revision += 1
        failed = news.start_failed(self.host_id, spec, error, failure)
        return (
            (failed, news.stopped(self.host_id, spec), *self._start_queued(entry)) if entry.stop_wanted else (failed,)
        )

    def _start_queued(self, entry: _Provider) -> tuple[Effect, ...]:
        return self.start_provider(entry.queued).effects if entry.queued is not None else ()

    def stop_provider(self, provider_id: str) -> Outcome:
        entry = self._providers.get(provider_id)
        if entry is None:
            return Outcome(Answer(False, "provider with that ID is not running"))
        if not entry.ready:
            entry.stop_wanted, entry.queued = True, None
            return Outcome(_STOPPED, (AbandonLaunch(provider_id),))
        del self._providers[provider_id]
        self.revision += 1
        return Outcome(_STOPPED, (HaltProvider(provider_id), news.stopped(self.host_id, entry.spec)))

    def described_anew(self) -> None:
        """An inventory says something else than before: an image is prepared, a provider refuses a link."""
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


def _merged(before: _Request | None, wanted: ComponentSpec, replaces: bool) -> _Request:
    """What two requests come to, one after the other, of which only the result is carried out."""
    if before is None:
        return _Request(wanted, replaces)
    keeps = not wanted.image or (before.replaces and not replaces)
    image = before.spec.image if keeps else wanted.image
    return _Request(replace(wanted, image=image), before.replaces or replaces)


def _other_image(running: ComponentSpec, wanted: ComponentSpec) -> bool:
    return bool(wanted.image) and wanted.image != running.image


def _latest(entry: _Component) -> ComponentSpec | None:
    """As what a component was last asked for; None if it is to be gone."""
    if entry.queued is not None:
        return entry.queued.spec
    return None if entry.stopped else entry.launching or entry.running


def _scale_answer(running: ComponentSpec, wanted: ComponentSpec, allow_update: bool) -> Answer:
    if not _other_image(running, wanted):
        return _OK
    other = f"Requested to scale existing component to a different image reference: {running.image} != {wanted.image}."
    how = "The component will be updated." if allow_update else _LEFT_ALONE
    return Answer(True, f"{other} {how}")
