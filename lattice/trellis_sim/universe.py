"""What everything in one simulated lattice shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from trellis_sim.bus import Bus
from trellis_sim.clock import Clock
from trellis_sim.trace import Trace

if TYPE_CHECKING:
    from trellis_sim.process import Process
    from trellis_wadm.planner.commands import Command

__all__ = ["Starts", "Universe"]


@dataclass(frozen=True, slots=True)
class Starts:
    """How workloads start: seconds, and the share of starts that fail while there are faults."""

    quick: float = 0.3
    slow: float = 0.0
    """The longest start of an image that a host has not run before."""
    failing: float = 0.0

    @property
    def longest(self) -> float:
        return max(self.quick, self.slow)


@dataclass(slots=True)
class Universe:
    """One lattice of one run."""

    clock: Clock
    random: Random
    bus: Bus
    trace: Trace
    starts: Starts
    processes: dict[str, Process] = field(default_factory=dict)
    """The newest process of each host, dead or alive."""
    commands: Counter[str] = field(default_factory=Counter)
    """Commands sent, by kind."""
    faulty: bool = True
    """Whether starts may fail at the moment."""
    on_command: Callable[[Process, Command], None] = lambda process, command: None
    on_change: Callable[[], None] = lambda: None
    """What a host runs has changed."""
    statuses: dict[str, str] = field(default_factory=dict)
    """What the last leader told of each application."""
