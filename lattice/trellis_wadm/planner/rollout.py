"""Which image a component should run now: the new one, or the old one where a host refused the new one.

The laws of this file: one refusal halts the rollout for good and takes it back, until somebody deploys again; that
a host refused is known from what became of the command, so that the answer is the same in every pass; old and new
differ by their reference, and whatever ran before counts as old.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from trellis_wadm import backoff
from trellis_wadm.planner.commands import Command, ScaleComponent
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.result import Condition, Stage, Step
from trellis_wadm.planner.view import View

__all__ = ["Rollout", "rollout_of"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """`image` is what every host should run now. `evidence` are the refusals that halt, as steps to be held back."""

    image: str
    evidence: tuple[Step, ...] = ()
    conditions: tuple[Condition, ...] = ()
    remembered: tuple[Command, ...] = ()

    @property
    def halted(self) -> bool:
        return bool(self.evidence)


def rollout_of(scaler: WorkloadScaler, placed: Collection[str], view: View) -> Rollout:
    """How far the change to the image of a component may go. `placed` are the hosts that should run it."""
    if not view.observed.attempts:
        return Rollout(scaler.image)
    running = view.components(scaler.workload)
    behind = [host for host in placed if host not in running or running[host].image != scaler.image]
    if not behind:
        return Rollout(scaler.image)
    # A host of v1 ends the old image before it starts the new one: then only the order to end it tells which it was.
    ended = [command for command in view.ended_components(scaler.workload) if command.image != scaler.image]
    refusals = [step for host in sorted(behind) if (step := _refusal(scaler, host, view)) is not None]
    old = Counter(component.image for component in running.values() if component.image != scaler.image)
    old.update(command.image for command in ended)
    if not refusals or not old:
        return Rollout(scaler.image, remembered=tuple(ended))
    image = min(old, key=lambda image: (-old[image], image))
    message = f"The update to {scaler.image} is halted and taken back to {image}; another deploy tries again"
    condition = Condition("update-halted", message, fatal=True)
    return Rollout(image, tuple(refusals), (condition,), tuple(ended))


def _refusal(scaler: WorkloadScaler, host: str, view: View) -> Step | None:
    """The command with the new image that this host refused for good."""
    attempt = view.observed.attempts.get(f"component/{host}/{scaler.workload}/{scaler.image}")
    command = attempt.command if attempt is not None else None
    if not isinstance(command, ScaleComponent) or not isinstance(view.verdict(command), backoff.Failed):
        return None
    return Step(Stage.START, command, f"{scaler.image} was refused there", scaler.app, scaler.id)
