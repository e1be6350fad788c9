"""A plan that is being carried out: which step may go out next. Pure; times are arguments.

The laws of this file: stage by stage, in order; a step whose needs failed is not sent; a bounded number is under
way at a time; whoever does not answer holds the others up for a moment only.
"""

from __future__ import annotations

from collections.abc import Set

from trellis_wadm.planner.commands import command_host
from trellis_wadm.planner.result import Plan, Stage, Step

__all__ = ["Stages"]

CONCURRENT = 16
"""Commands under way at a time."""
PATIENCE = 0.5
"""Seconds without an answer after which those that are missing are waited for no more."""


class Stages:
    """The steps of one plan. What did not go out is planned anew in the next pass."""

    def __init__(self, plan: Plan, now: float, ending: Set[str] = frozenset()) -> None:
        """`ending` are hosts that still end a provider since an earlier pass."""
        self._ending = ending
        self._stages = [list(reversed(steps)) for _, steps in plan.stages()]
        self._under_way: set[str] = set()
        self._failed: set[str] = set()
        self._heard = now

    @property
    def done(self) -> bool:
        return not self._stages and not self._under_way

    @property
    def tired_at(self) -> float:
        """When to wait no longer."""
        return self._heard + PATIENCE

    def next(self, now: float) -> list[Step]:
        """Steps to send now; each counts as under way until `ended`."""
        ready: list[Step] = []
        while self._stages and len(self._under_way) < CONCURRENT:
            stage = self._stages[0]
            if not stage:
                if self._under_way:
                    break
                del self._stages[0]
                continue
            step = stage.pop()
            starts = step.stage is Stage.START and command_host(step.command) in self._ending
            if starts or step.needs & self._failed:
                self._failed.add(step.key)
                continue
            self._under_way.add(step.key)
            self._heard = now
            ready.append(step)
        return ready

    def ended(self, key: str, failed: bool, now: float) -> None:
        """A step was answered; one of an earlier plan is no concern of this one."""
        if key in self._under_way:
            self._under_way.discard(key)
            self._heard = now
            if failed:
                self._failed.add(key)
