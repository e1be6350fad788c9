"""The planner: what is asked for and what is, compared; commands, reasons and statuses come out. Pure."""

from trellis_wadm.planner.commands import Command, command_host, command_key, describe
from trellis_wadm.planner.conflicts import Conflict, find_conflicts
from trellis_wadm.planner.desired import Application, Desired, desired_of
from trellis_wadm.planner.planning import plan
from trellis_wadm.planner.result import ApplicationStatus, Condition, Plan, ScalerStatus, StatusType, Step
from trellis_wadm.planner.world import Host, Observed, Owned, RunningComponent, RunningProvider

__all__ = [
    "Application",
    "ApplicationStatus",
    "Command",
    "Condition",
    "Conflict",
    "Desired",
    "Host",
    "Observed",
    "Owned",
    "Plan",
    "RunningComponent",
    "RunningProvider",
    "ScalerStatus",
    "StatusType",
    "Step",
    "command_host",
    "command_key",
    "describe",
    "desired_of",
    "find_conflicts",
    "plan",
]
