"""Configs of applications: written where they differ, and only looked for where they are somebody else's."""

from __future__ import annotations

from trellis_wadm.planner.commands import PutConfig
from trellis_wadm.planner.desired import ConfigScaler
from trellis_wadm.planner.result import Condition, Stage, Step
from trellis_wadm.planner.view import Outcome, View

__all__ = ["decide"]


def decide(scaler: ConfigScaler, view: View) -> Outcome:
    """A put if the stored properties differ; a condition if a config that must exist does not."""
    stored = view.observed.configs.get(scaler.name)
    if scaler.properties is None:
        if stored is not None:
            return Outcome()
        message = f"Specified configuration {scaler.name} does not exist"
        return Outcome(conditions=(Condition("config-missing", message, fatal=True),))
    if stored is not None and dict(stored) == dict(scaler.properties):
        return Outcome()
    reason = "it does not exist" if stored is None else "its properties differ"
    command = PutConfig(scaler.name, dict(scaler.properties))
    return Outcome((Step(Stage.CONFIG, command, reason, scaler.app, scaler.id),))
