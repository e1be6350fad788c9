"""What breaks, by name: `async def NAME(bench: Bench) -> list[Result]`."""

from __future__ import annotations

from tests.faults.scenarios import changes, deaths, nodes, wires
from tests.faults.scenarios.setting import Bench, Scenario

__all__ = ["NEEDS_NETWORK", "SCENARIOS", "SHORT", "Bench"]

SCENARIOS: dict[str, Scenario] = {
    "sigkill": deaths.sigkill,
    "sigkill-leader": deaths.sigkill_leader,
    "sigstop": deaths.sigstop,
    "lease-move": deaths.lease_move,
    "partition": wires.partition,
    "one-way": wires.one_way,
    "cut-off": wires.cut_off,
    "loss": wires.loss,
    "throttle": wires.throttle,
    "half-open": wires.half_open,
    "nats-node": nodes.nats_node,
    "minority": nodes.minority,
    "sigterm": changes.sigterm,
    "drain": changes.drain,
    "update": changes.update,
}
NEEDS_NETWORK = frozenset({"partition", "one-way", "cut-off", "loss", "throttle", "minority"})
"""Those that break wires, and so need namespaces."""
SHORT = ("sigkill-leader", "partition")
