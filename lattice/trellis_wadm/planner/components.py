"""From places to commands, for a component.

The laws of this file: what moves runs in its new place before it ends in the old one; a new image comes host by
host, and the next host follows only when the last one runs it; a host of v1 cannot exchange an image, so it ends
the old one first, and never while another place is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trellis_wadm import backoff, naming, quantities
from trellis_wadm.planner.commands import Command, ScaleComponent, command_key
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.result import Condition, Stage, Step
from trellis_wadm.planner.rollout import Rollout, rollout_of
from trellis_wadm.planner.spreadscaler import spread_annotation
from trellis_wadm.planner.view import View
from trellis_wadm.planner.world import Host, RunningComponent

__all__ = ["Changes", "Parts", "converge_component", "stop_component"]

_SETTINGS = "its settings differ there"
Parts = Mapping[str, Mapping[str, int]]
"""By host, how much of each spread it should run."""


@dataclass(slots=True)
class Changes:
    """What is to be done for one workload. `growing`: somewhere it has to start first, so that nothing may stop yet."""

    evidence: list[Step] = field(default_factory=list)
    """What failed and is held back, but says why the rest is as it is."""
    starts: list[Step] = field(default_factory=list)
    stops: list[Step] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    remembered: list[Command] = field(default_factory=list)
    growing: bool = False


def converge_component(scaler: WorkloadScaler, parts: Parts, view: View, needs: frozenset[str]) -> Changes:
    """The steps that bring a component to its places, with the image that it should run."""
    running = view.components(scaler.workload)
    rollout = rollout_of(scaler, parts, view)
    changes = Changes(list(rollout.evidence), conditions=list(rollout.conditions), remembered=list(rollout.remembered))
    old = {host for host, component in running.items() if component.image != rollout.image}
    for id, component in sorted(running.items()):
        host = view.observed.hosts[id]
        if id not in parts and host.known:
            changes.stops.append(stop_component(host, component, scaler))
    if scaler.policy.recreate and old:
        _recreate(scaler, old, running, needs, changes)
        return changes
    hosts = view.observed.hosts
    if not rollout.halted:
        old |= {id for id in running.keys() & parts.keys() if _must_start_anew(scaler, hosts[id], running[id])}
    absent = 0
    for id in sorted(parts):
        if id in old:
            continue
        current = running.get(id)
        absent += current is None
        if rollout.halted and current is not None and current.max_instances == sum(parts[id].values()):
            continue  # what was not updated stays as it is, settings included
        _fit(scaler, hosts[id], current, rollout.image, parts[id], needs, changes)
    outdated = sorted(id for id in parts if id in old)
    if outdated:
        _update(scaler, outdated, parts, rollout, absent, view, needs, changes)
    return changes


def _recreate(
    scaler: WorkloadScaler,
    old: Iterable[str],
    running: Mapping[str, RunningComponent],
    needs: frozenset[str],
    changes: Changes,
) -> None:
    """Ends the old image everywhere; what is to start waits for that."""
    stopping = {step.key for step in changes.stops}
    for id in sorted(old):
        command = _stop(id, running[id])
        if command_key(command) not in stopping:
            reason = f"it runs {running[id].image} there"
            changes.stops.append(Step(Stage.STOP, command, reason, scaler.app, scaler.id, needs))
            changes.remembered.append(command)
    message = f"{scaler.image} starts once no host runs another image"
    changes.conditions.append(Condition("recreating", message))


def _update(
    scaler: WorkloadScaler,
    outdated: list[str],
    parts: Parts,
    rollout: Rollout,
    absent: int,
    view: View,
    needs: frozenset[str],
    changes: Changes,
) -> None:
    """Changes the image on as many hosts as may change at a time; the others keep theirs."""
    running = view.components(scaler.workload)
    hosts = view.observed.hosts
    wanted = {id: _command(scaler, id, rollout.image, parts[id], update=hosts[id].ours) for id in outdated}
    known = view.observed.attempts
    outdated.sort(key=lambda id: (command_key(wanted[id]) not in known, id))
    turns, endings = scaler.policy.parallel, scaler.policy.parallel - absent
    for id in outdated:
        host, current, command = hosts[id], running[id], wanted[id]
        failed = isinstance(view.verdict(command), backoff.Failed)
        if turns > 0 and (host.ours or endings > 0):
            turns -= not failed
            endings -= 1
            changes.starts.append(_exchange(scaler, host, current, command, needs))
            changes.remembered.append(command)
        elif current.max_instances != command.count:
            _fit(scaler, host, current, current.image, parts[id], needs, changes)
        changes.growing = changes.growing or current.max_instances < command.count
    behind = sum(1 for id in outdated if running[id].image != rollout.image)
    message = f"{behind} host(s) still run another image than {rollout.image}"
    if not behind:
        message = f"{len(outdated)} host(s) of v1 are still to start it anew with other settings"
    changes.conditions.append(Condition("updating", message))


def _exchange(
    scaler: WorkloadScaler, host: Host, current: RunningComponent, command: ScaleComponent, needs: frozenset[str]
) -> Step:
    """A host of ours starts the new image beside the old one; one of v1 has to end the old one before.

    v1 acknowledges first and works later, each order in a task of its own: a start right after a stop may overtake it,
    take the old one for its own, and be ended with it. So the start is left to the pass that sees the old one gone.
    """
    reason = f"it runs {current.image} there" if current.image != command.image else _SETTINGS
    if host.ours:
        return Step(Stage.START, command, reason, scaler.app, scaler.id, needs)
    return Step(Stage.CLEAR, _stop(host.id, current), reason, scaler.app, scaler.id, needs)


def _fit(
    scaler: WorkloadScaler,
    host: Host,
    current: RunningComponent | None,
    image: str,
    parts: Mapping[str, int],
    needs: frozenset[str],
    changes: Changes,
) -> None:
    """Starts a component, or changes whatever differs besides its image."""
    command = _command(scaler, host.id, image, parts)
    if current is not None and _is_as_asked(current, command, host):
        return
    step = Step(Stage.START, command, _why(current, command), scaler.app, scaler.id, needs)
    shrinks = current is not None and current.max_instances > command.count
    (changes.stops if shrinks else changes.starts).append(step)
    changes.growing = changes.growing or current is None or current.max_instances < command.count


def _command(
    scaler: WorkloadScaler, host: str, image: str, parts: Mapping[str, int], *, update: bool = False
) -> ScaleComponent:
    annotations = {**scaler.annotations, naming.SPREAD_ANNOTATION: spread_annotation(parts)}
    count = sum(parts.values())
    return ScaleComponent(host, scaler.workload, image, count, scaler.config, annotations, scaler.limits, update)


def _is_as_asked(running: RunningComponent, command: ScaleComponent, host: Host) -> bool:
    """Of v1's hosts only the number: settings they take at a start alone, and so tell those of their start."""
    return running.max_instances == command.count and (not host.ours or _has(running, command.annotations))


def _must_start_anew(scaler: WorkloadScaler, host: Host, running: RunningComponent) -> bool:
    """Which spread its instances count for is noted on them, but no reason to end them."""
    return not host.ours and not _has(running, scaler.annotations)


def _has(running: RunningComponent, annotations: Mapping[str, str]) -> bool:
    """Limits are not compared: not every host reports them, and they come from annotations, which are."""
    return annotations.items() <= running.annotations.items() and all(
        key in annotations for key in running.annotations if key.startswith(quantities.PREFIX)
    )


def _why(running: RunningComponent | None, command: ScaleComponent) -> str:
    if running is None:
        return "it does not run there"
    if running.max_instances != command.count:
        return f"it has {running.max_instances} instances there, {command.count} are asked for"
    return _SETTINGS


def stop_component(host: Host, running: RunningComponent, scaler: WorkloadScaler | None = None) -> Step:
    """The step that ends a component on a host."""
    app = scaler.app if scaler else running.annotations.get(naming.APP_ANNOTATION)
    reason = "it is not placed there" if scaler else "no application asks for it"
    return Step(Stage.STOP, _stop(host.id, running), reason, app, scaler.id if scaler else None)


def _stop(host: str, running: RunningComponent) -> ScaleComponent:
    return ScaleComponent(host, running.id, running.image, 0, (), dict(running.annotations))
