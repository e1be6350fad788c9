"""From places to commands: brings a component or a provider to where a scaler placed it.

The law of this file: what moves runs in its new place before it ends in the old one. As long as something is
still to be started, nothing of the same scaler is stopped, except a provider that must restart where it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from trellis_wadm import naming, quantities
from trellis_wadm.planner.commands import ScaleComponent, StartProvider, StopProvider, command_key
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.result import Condition, Placement, Stage, Step
from trellis_wadm.planner.spreadscaler import spread_annotation
from trellis_wadm.planner.view import Outcome, View
from trellis_wadm.planner.world import Host, RunningComponent, RunningProvider

__all__ = ["converge"]


def converge(scaler: WorkloadScaler, placements: Sequence[Placement], view: View) -> Outcome:
    """The steps that bring every host to its part of the placements."""
    needs, conditions = view.needs(scaler.config)
    conditions += shortfalls(scaler, placements)
    short = any(sum(placement.placed.values()) < placement.wanted for placement in placements)
    starts: list[Step] = []
    stops: list[Step] = []
    growing = False
    for host in view.hosts:
        if not (host.live and host.known):
            continue
        parts = {p.spread: p.placed[host.id] for p in placements if p.placed.get(host.id)}
        up, down, grows = (_provider if scaler.provider else _component)(scaler, host, parts, needs)
        starts += up
        ill = host.providers.get(scaler.workload) if scaler.provider and parts else None
        if ill is not None and (ill.problem or not ill.healthy):
            why = f": {ill.problem}" if ill.problem else ""
            conditions.append(Condition("unhealthy", f"Unhealthy provider on {host.name or host.id}{why}", host.id))
        # A draining host keeps what could not be placed elsewhere.
        stops += [] if host.draining and short else down
        growing = growing or grows
    if any(condition.reason == "config-missing" for condition in conditions):
        starts = []
    if growing and stops:
        message = f"{len(stops)} host(s) keep it until it runs in its new place"
        conditions.append(Condition("moving", message))
        stops = []
    return Outcome((*starts, *stops), tuple(conditions), tuple(placements))


def _component(
    scaler: WorkloadScaler, host: Host, parts: Mapping[str, int], needs: frozenset[str]
) -> tuple[list[Step], list[Step], bool]:
    """Steps that start or change, steps that stop, and whether this host still has to grow."""
    running = host.components.get(scaler.workload)
    count = sum(parts.values())
    if not count:
        return [], [stop_component(host, running, scaler)] if running else [], False
    annotations = {**scaler.annotations, naming.SPREAD_ANNOTATION: spread_annotation(parts)}
    command = ScaleComponent(
        host.id, scaler.workload, scaler.image, count, scaler.config, annotations, dict(scaler.limits), True
    )
    if running is not None and _is_as_asked(running, command):
        return [], [], False
    step = Step(Stage.START, command, _why(running, command), scaler.app, scaler.id, needs)
    return [step], [], running is None or running.max_instances < count


def _is_as_asked(running: RunningComponent, command: ScaleComponent) -> bool:
    """Limits are not compared: not every host reports them, and they come from annotations, which are."""
    own = {key for key in running.annotations if key.startswith(quantities.PREFIX)}
    return (
        running.image == command.image
        and running.max_instances == command.count
        and all(running.annotations.get(key) == value for key, value in command.annotations.items())
        and own <= command.annotations.keys()
    )


def _why(running: RunningComponent | None, command: ScaleComponent) -> str:
    if running is None:
        return "it does not run there"
    if running.image != command.image:
        return f"it runs {running.image} there"
    if running.max_instances != command.count:
        return f"it has {running.max_instances} instances there, {command.count} are asked for"
    return "its settings differ there"


def stop_component(host: Host, running: RunningComponent, scaler: WorkloadScaler | None = None) -> Step:
    """The step that ends a component on a host."""
    command = ScaleComponent(host.id, running.id, running.image, 0, (), dict(running.annotations))
    app = scaler.app if scaler else running.annotations.get(naming.APP_ANNOTATION)
    reason = "it is not placed there" if scaler else "no application asks for it"
    return Step(Stage.STOP, command, reason, app, scaler.id if scaler else None)


def _provider(
    scaler: WorkloadScaler, host: Host, parts: Mapping[str, int], needs: frozenset[str]
) -> tuple[list[Step], list[Step], bool]:
    """Steps that start or restart, steps that stop, and whether this host still has to start it."""
    running = host.providers.get(scaler.workload)
    if not parts:
        ours = running is not None and is_managed(running)
        step = Step(Stage.STOP, StopProvider(host.id, scaler.workload), "it is not placed there", scaler.app, scaler.id)
        return [], [step] if ours else [], False
    annotations = {**scaler.annotations, naming.SPREAD_ANNOTATION: next(iter(parts))}
    start = StartProvider(host.id, scaler.workload, scaler.image, scaler.config, annotations)
    if running is None:
        return [Step(Stage.START, start, "it does not run there", scaler.app, scaler.id, needs)], [], True
    if not _must_restart(running, scaler):
        return [], [], False
    stop = StopProvider(host.id, scaler.workload)
    reason = f"it runs {running.image} there" if running.image != scaler.image else "its settings differ there"
    # Whatever the start needs, the stop needs too: a provider must not end for a start that cannot happen.
    clear = Step(Stage.CLEAR, stop, reason, scaler.app, scaler.id, needs)
    again = Step(Stage.START, start, reason, scaler.app, scaler.id, needs | {command_key(stop)})
    return [clear, again], [], False


def _must_restart(running: RunningProvider, scaler: WorkloadScaler) -> bool:
    """One that somebody started by hand is taken as it is, as v1 does."""
    return is_managed(running) and (
        running.image != scaler.image or running.annotations.get(naming.SCALER_ANNOTATION) != scaler.id
    )


def is_managed(running: RunningProvider | RunningComponent) -> bool:
    """Whether a reconciler started this."""
    return running.annotations.get(naming.MANAGED_BY_ANNOTATION) == naming.MANAGER


def shortfalls(scaler: WorkloadScaler, placements: Sequence[Placement]) -> list[Condition]:
    """A condition for each spread that found too few hosts, and one for each host that was rejected for it."""
    found: list[Condition] = []
    for placement in placements:
        if sum(placement.placed.values()) >= placement.wanted:
            continue
        rejected = [verdict for verdict in placement.verdicts if not verdict.accepted]
        hosts, wanted = len(placement.placed), placement.wanted if scaler.provider and not scaler.daemon else 1
        kind = "daemonscaler spread" if scaler.daemon else "spread"
        message = (
            f"Could not satisfy {kind} {placement.spread} for {scaler.image}, {hosts}/{wanted} eligible hosts found."
        )
        if rejected:
            reasons = Counter(verdict.reason for verdict in rejected)
            listed = "; ".join(f"{n} host(s): {reason}" for reason, n in reasons.most_common(4))
            message = f"{message} {listed}."
        found.append(Condition("unsatisfied", message, fatal=True))
        found += [Condition(f"rejected-{v.code}", v.reason, v.host) for v in rejected[:32]]
    return found
