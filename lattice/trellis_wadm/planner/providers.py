"""From places to commands, for a provider: one instance on a host, restarted where its image or settings change.

The law of this file: a provider that has to restart does so host by host, and never while another place is empty,
so that one which does not come up again keeps the others from being stopped.
"""

from __future__ import annotations

from trellis_wadm import naming
from trellis_wadm.planner.commands import StartProvider, StopProvider, command_key
from trellis_wadm.planner.components import Changes, Parts
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.result import Condition, Stage, Step
from trellis_wadm.planner.view import View
from trellis_wadm.planner.world import RunningComponent, RunningProvider

__all__ = ["converge_provider", "is_managed"]


def converge_provider(scaler: WorkloadScaler, parts: Parts, view: View, needs: frozenset[str]) -> Changes:
    """The steps that bring a provider to its places."""
    changes = Changes()
    running = view.providers(scaler.workload)
    for id, provider in sorted(running.items()):
        if id not in parts and view.observed.hosts[id].known and is_managed(provider):
            stop = StopProvider(id, scaler.workload)
            changes.stops.append(Step(Stage.STOP, stop, "it is not placed there", scaler.app, scaler.id))
    outdated: list[str] = []
    for id in sorted(parts):
        current = running.get(id)
        if current is None:
            start = _start(scaler, id, parts)
            changes.starts.append(Step(Stage.START, start, "it does not run there", scaler.app, scaler.id, needs))
            changes.growing = True
            continue
        if current.problem or not current.healthy:
            why = f": {current.problem}" if current.problem else ""
            message = f"Unhealthy provider on {view.observed.hosts[id].name or id}{why}"
            changes.conditions.append(Condition("unhealthy", message, id))
        if _must_restart(current, scaler):
            outdated.append(id)
    if outdated:
        _restart(scaler, outdated, parts, view, needs, changes)
    return changes


def _restart(
    scaler: WorkloadScaler, outdated: list[str], parts: Parts, view: View, needs: frozenset[str], changes: Changes
) -> None:
    running = view.providers(scaler.workload)
    absent = sum(1 for id in parts if id not in running)
    turns = len(outdated) if scaler.policy.recreate else max(0, scaler.policy.parallel - absent)
    known = view.observed.attempts
    outdated.sort(key=lambda id: (f"stop/{id}/{scaler.workload}" not in known, id))
    for id in outdated[:turns]:
        current = running[id]
        stop = StopProvider(id, scaler.workload)
        reason = f"it runs {current.image} there" if current.image != scaler.image else "its settings differ there"
        # Whatever the start needs, the stop needs too: a provider must not end for a start that cannot happen.
        changes.starts.append(Step(Stage.CLEAR, stop, reason, scaler.app, scaler.id, needs))
        again = needs | {command_key(stop)}
        start = _start(scaler, id, parts)
        changes.starts.append(Step(Stage.START, start, reason, scaler.app, scaler.id, again))
    message = f"{len(outdated)} host(s) are still to restart it with {scaler.image}"
    changes.conditions.append(Condition("updating", message))


def _start(scaler: WorkloadScaler, host: str, parts: Parts) -> StartProvider:
    annotations = {**scaler.annotations, naming.SPREAD_ANNOTATION: next(iter(parts[host]))}
    return StartProvider(host, scaler.workload, scaler.image, scaler.config, annotations)


def _must_restart(running: RunningProvider, scaler: WorkloadScaler) -> bool:
    """One that somebody started by hand is taken as it is, as v1 does."""
    return is_managed(running) and (
        running.image != scaler.image or running.annotations.get(naming.SCALER_ANNOTATION) != scaler.id
    )


def is_managed(running: RunningProvider | RunningComponent) -> bool:
    """Whether a reconciler started this."""
    return running.annotations.get(naming.MANAGED_BY_ANNOTATION) == naming.MANAGER
