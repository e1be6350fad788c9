"""Ports that only one provider of a host can have: whoever opens one starts after whoever had it has ended.

The law of this file: a provider keeps what it has until it runs elsewhere, also here, so that its successor waits;
only where two wait for each other's port does one of them have to end first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trellis_lattice.links import Link
from trellis_wadm.manifest.listeners import DEFAULT_ADDRESS, is_listening, port_of
from trellis_wadm.planner.commands import StartProvider, StopProvider, command_host, command_key
from trellis_wadm.planner.desired import Desired, WorkloadScaler
from trellis_wadm.planner.result import Condition, Stage, Step
from trellis_wadm.planner.view import Outcome, View

__all__ = ["Decided", "Ports", "in_turn"]

Decided = tuple[WorkloadScaler, Outcome]


class Ports:
    """The ports that providers open over their links: as it is, and as it is wanted."""

    def __init__(self, desired: Desired, view: View) -> None:
        values = {c.name: c.properties for c in desired.all_configs() if c.properties is not None}
        self._stored = view.observed.configs
        after = {**self._stored, **values}
        self.wanted: dict[str, set[str]] = defaultdict(set)
        for scaler in desired.all_links():
            if scaler.listens:
                self.wanted[scaler.link.source_id] |= _ports(scaler.link, after)
        self.all_wanted = {port for ports in self.wanted.values() for port in ports}
        self.open: dict[str, set[str]] = defaultdict(set)
        for link in view.observed.links:
            self.open[link.source_id] |= self.of(link)

    def of(self, link: Link) -> set[str]:
        """The port that a stored link opens, if it is one from an HTTP server."""
        return _ports(link, self._stored)


def _ports(link: Link, configs: Mapping[str, Mapping[str, str]]) -> set[str]:
    if not is_listening(link.wit_namespace, link.wit_package, link.interfaces):
        return set()
    address = DEFAULT_ADDRESS
    for name in link.source_config:
        address = configs.get(name, {}).get("address", address)
    return {port_of(address)[1]} - {"0"}


def in_turn(decided: Sequence[Decided], removals: Sequence[Step], ports: Ports, view: View) -> list[Decided]:
    """The same decisions, with every start of a provider after the end of whoever has its port on that host."""
    leaving = {step.key for step in removals}
    held: dict[str, dict[str, Step]] = {}
    for scaler, outcome in decided:
        leaving |= {step.key for step in outcome.steps if isinstance(step.command, StopProvider)}
        if scaler.provider and outcome.held:
            held[scaler.workload] = {step.key: step for step in outcome.held}
    waits: dict[str, dict[str, set[str]]] = {}
    first: dict[str, set[str]] = {}
    for scaler, outcome in decided:
        for step in outcome.steps if scaler.provider and ports.wanted.get(scaler.workload) else ():
            for other in _in_the_way(step, scaler.workload, ports, view):
                stop = command_key(StopProvider(_host(step), other))
                if stop in leaving:
                    first.setdefault(step.key, set()).add(stop)
                elif stop in held.get(other, {}):
                    waits.setdefault(scaler.workload, {}).setdefault(step.key, set()).add(other)
    if not waits and not first:
        return list(decided)
    return [_ordered(scaler, outcome, waits, first) for scaler, outcome in decided]


def _in_the_way(step: Step, workload: str, ports: Ports, view: View) -> list[str]:
    """Other providers on the host of a start that have one of its ports open."""
    command = step.command
    if not isinstance(command, StartProvider):
        return []
    mine = ports.wanted[workload]
    running = view.observed.hosts[command.host].providers
    return [id for id in sorted(running) if id != workload and mine & ports.open.get(id, set())]


def _ordered(
    scaler: WorkloadScaler, outcome: Outcome, waits: Mapping[str, Mapping[str, set[str]]], first: Mapping[str, set[str]]
) -> Decided:
    """One decision: starts need the stops before them, or wait; what has to end first for others ends early."""
    freed = _freed(scaler.workload, waits)
    steps: list[Step] = []
    conditions = list(outcome.conditions)
    needed = {key for keys in first.values() for key in keys}
    for step in outcome.steps:
        others = waits.get(scaler.workload, {}).get(step.key, set())
        if others - freed:
            what = ", ".join(sorted(others))
            message = f"It starts once {what} runs elsewhere: both open the same port"
            conditions.append(Condition("port-taken", message, _host(step)))
            continue
        keys = first.get(step.key, set()) | {command_key(StopProvider(_host(step), other)) for other in others}
        stage = Stage.CLEAR if step.key in needed and step.stage is Stage.STOP else step.stage
        steps.append(replace(step, needs=step.needs | keys, stage=stage))
    steps += [replace(step, stage=Stage.CLEAR) for step in outcome.held if _is_awaited(step, scaler.workload, waits)]
    return scaler, replace(outcome, steps=tuple(steps), conditions=tuple(conditions))


def _freed(workload: str, waits: Mapping[str, Mapping[str, set[str]]]) -> set[str]:
    """Those that it waits for and that wait for it, in a ring: nobody would ever begin."""
    direct = {other for others in waits.get(workload, {}).values() for other in others}
    return {other for other in direct if workload in _awaited_by(other, waits)}


def _awaited_by(workload: str, waits: Mapping[str, Mapping[str, set[str]]]) -> set[str]:
    found: set[str] = set()
    todo = [workload]
    while todo:
        for others in waits.get(todo.pop(), {}).values():
            todo += others - found
            found |= others
    return found


def _is_awaited(step: Step, workload: str, waits: Mapping[str, Mapping[str, set[str]]]) -> bool:
    """Whether somebody waits for this stop in a ring."""
    return any(
        workload in others and step.key == command_key(StopProvider(start.split("/")[1], workload))
        for waiting, starts in waits.items()
        if workload in _freed(waiting, waits)
        for start, others in starts.items()
    )


def _host(step: Step) -> str:
    return command_host(step.command) or ""
