"""From places to commands: brings a component or a provider to where a scaler placed it.

The law of this file: what moves runs in its new place before it ends in the old one. As long as something is
still to be started, nothing of the same scaler is stopped, except what cannot change without ending first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trellis_wadm.planner.commands import command_host
from trellis_wadm.planner.components import converge_component
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.providers import converge_provider
from trellis_wadm.planner.result import Condition, Placement, Step
from trellis_wadm.planner.view import Outcome, View

__all__ = ["converge"]

_NAMED = 32
"""Rejected hosts that get a condition of their own."""


def converge(scaler: WorkloadScaler, placements: Sequence[Placement], view: View) -> Outcome:
    """The steps that bring every host to its part of the placements."""
    needs, conditions = view.needs(scaler.config)
    blocked = bool(conditions)
    conditions += shortfalls(scaler, placements)
    parts: dict[str, dict[str, int]] = {}
    for placement in placements:
        for host, count in placement.placed.items():
            if count:
                parts.setdefault(host, {})[placement.spread] = count
    changes = (converge_provider if scaler.provider else converge_component)(scaler, parts, view, needs)
    conditions += changes.conditions
    starts, stops = changes.starts, changes.stops
    held: tuple[Step, ...] = ()
    if any(sum(placement.placed.values()) < placement.wanted for placement in placements):
        # A draining host keeps what could not be placed elsewhere.
        hosts = view.observed.hosts
        stops = [step for step in stops if not hosts[command_host(step.command) or ""].draining]
    if blocked:
        # What cannot start ends nothing either.
        starts = []
    if stops and (changes.growing or (blocked and parts)):
        conditions.append(
            Condition("moving", f"{len(stops)} host(s) keep what they have until it runs in its new place")
        )
        held, stops = tuple(stops), []
    steps = (*changes.evidence, *starts, *stops)
    return Outcome(steps, tuple(conditions), tuple(placements), held, tuple(changes.remembered))


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
        found += [Condition(f"rejected-{v.code}", v.reason, v.host) for v in rejected[:_NAMED]]
    return found
