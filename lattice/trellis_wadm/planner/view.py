"""What the decision about one scaler may look at, and what it returns.

The law of this file: whatever has to be found for each scaler is looked up, never searched for; with a thousand
hosts and ten thousand placements, one search in each decision is too many.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from trellis_lattice.links import Link
from trellis_wadm import backoff
from trellis_wadm.planner.commands import Command, ScaleComponent, StartProvider, StopProvider, command_key
from trellis_wadm.planner.eligibility import Candidates, Side, candidates
from trellis_wadm.planner.result import Condition, Placement, Step
from trellis_wadm.planner.world import Host, LinkKey, Observed, RunningComponent, RunningProvider, SlotKey

__all__ = ["ConfigState", "Outcome", "View", "slot_of"]

_QUANTA = 8
"""Steps of load and of memory that tell hosts apart which are alike otherwise."""

_HEAD_START = 2
"""Workloads that a host may run more than another one and still be chosen because it is prepared."""

_Rank = tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class ConfigState:
    """Whether a config may be relied on: `step` is the key of the command that writes it in this pass."""

    ok: bool
    step: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scaler decided: what to do, and what does not hold besides what these steps will mend.

    `remembered` are commands of the past that the decision rests on: what became of them is to be kept.
    """

    steps: tuple[Step, ...] = ()
    conditions: tuple[Condition, ...] = ()
    placements: tuple[Placement, ...] = ()
    held: tuple[Step, ...] = ()
    """Stops that wait until it runs elsewhere."""
    remembered: tuple[Command, ...] = ()


class View:
    """The world of one pass, indexed. `load` counts workloads per host, planned ones included."""

    def __init__(self, observed: Observed, now: float, policy: backoff.Policy) -> None:
        self.observed = observed
        self.now = now
        self.policy = policy
        self.configs: dict[str, ConfigState] = {}
        self.sides: Mapping[str, Side] = {}
        """Workloads that have to stay on one kind of hosts."""
        self.hosts: list[Host] = [host for _, host in sorted(observed.hosts.items())]
        self.load: dict[str, int] = {host.id: host.workloads for host in self.hosts}
        self.links: dict[LinkKey, Link] = {}
        self.slots: dict[SlotKey, list[Link]] = defaultdict(list)
        for link in observed.links:
            self.links[link.key] = link
            self.slots[slot_of(link)].append(link)
        self._components: dict[str, dict[str, RunningComponent]] = defaultdict(dict)
        self._providers: dict[str, dict[str, RunningProvider]] = defaultdict(dict)
        for host in self.hosts:
            if host.live:
                for id, component in host.components.items():
                    self._components[id][host.id] = component
                for id, provider in host.providers.items():
                    self._providers[id][host.id] = provider
        self._prepared: dict[str, set[str]] = defaultdict(set)
        for host in self.hosts:
            for image in host.prepared:
                self._prepared[image].add(host.id)
        self._sent = _index(observed)
        self._ended = _ended(observed)
        self._groups: dict[tuple[object, ...], Candidates] = {}
        self._pools: dict[int, list[_Rank]] = {}
        self._pressure = {host.id: (_quantized(host.load), _quantized(host.memory)) for host in self.hosts}

    def components(self, id: str) -> Mapping[str, RunningComponent]:
        """Live hosts that run a component, and what they run."""
        return self._components.get(id, {})

    def providers(self, id: str) -> Mapping[str, RunningProvider]:
        """Live hosts that run a provider, and what they run."""
        return self._providers.get(id, {})

    def expected_components(self, id: str) -> Mapping[str, RunningComponent]:
        """What runs where, or will once the commands that were sent take effect.

        A start that failed is still expected: its place is not given up because of it.
        """
        if id not in self._sent:
            return self.components(id)
        expected = dict(self.components(id))
        for host, attempt in self._sent[id].items():
            command = attempt.command
            if isinstance(command, ScaleComponent) and not command.count:
                expected.pop(host, None)
            elif isinstance(command, ScaleComponent) and (attempt.pending or host not in expected):
                expected[host] = RunningComponent(id, command.image, command.count, command.annotations)
        return expected

    def expected_providers(self, id: str) -> Mapping[str, RunningProvider]:
        """What runs where, or will once the commands that were sent take effect."""
        if id not in self._sent:
            return self.providers(id)
        expected = dict(self.providers(id))
        for host, attempt in self._sent[id].items():
            command = attempt.command
            if isinstance(command, StopProvider):
                expected.pop(host, None)
            elif isinstance(command, StartProvider):
                expected[host] = RunningProvider(id, command.image, command.annotations)
        return expected

    def ended_components(self, id: str) -> list[ScaleComponent]:
        """The orders to end a component that were carried out, as far as they are remembered."""
        return self._ended.get(id, [])

    def prepared(self, image: str) -> Set[str]:
        """Hosts that have fetched and compiled an image."""
        return self._prepared.get(image, set())

    def verdict(self, command: Command) -> backoff.Verdict:
        """Whether a command may be sent, given what became of the last one with its key."""
        attempt = self.observed.attempts.get(command_key(command))
        return backoff.judge(attempt, command, self.now, backoff.policy_for(command, self.policy))

    def group(self, requirements: Mapping[str, str], side: Side | None = None) -> Candidates:
        """The hosts for one spread; judged once for each set of requirements."""
        key = (side, *sorted(requirements.items()))
        found = self._groups.get(key)
        if found is None:
            found = self._groups[key] = candidates(self.hosts, requirements, side)
        return found

    def rank(self, host: str) -> _Rank:
        """The order in which hosts get new work: the emptiest first, then those with the least to do."""
        return (self.load.get(host, 0), *self._pressure.get(host, (0, 0)), host)

    def best(self, group: Candidates, count: int, skip: Collection[str]) -> list[str]:
        """The `count` open hosts of a group that should get new work first, without those to skip."""
        if count <= 0:
            return []
        pool = self._pools.get(id(group))
        if pool is None:
            pool = self._pools[id(group)] = [self.rank(host) for host in group.open]
            heapq.heapify(pool)
        found: list[str] = []
        passed: list[_Rank] = []
        while pool and len(found) < count:
            entry = heapq.heappop(pool)
            current = self.rank(entry[-1])
            if current != entry:  # loads only grow within a pass, so what is out of date comes too early
                heapq.heappush(pool, current)
                continue
            passed.append(entry)
            if entry[-1] not in skip:
                found.append(entry[-1])
        for entry in passed:
            heapq.heappush(pool, entry)
        return found

    def best_for(self, image: str, group: Candidates, count: int, skip: Collection[str]) -> list[str]:
        """As `best`, but a host that has prepared the image may be a little fuller: it starts at once."""
        found = self.best(group, count, skip)
        ready = [host for host in self.prepared(image) if host in group.open and host not in skip]
        if not ready or len(found) < count:
            return found

        def rank(host: str) -> _Rank:
            count, load, memory, id = self.rank(host)
            return count - _HEAD_START if host in self.prepared(image) else count, load, memory, id

        return sorted({*found, *ready}, key=rank)[:count]

    def needs(self, config: tuple[str, ...]) -> tuple[frozenset[str], list[Condition]]:
        """The commands that must succeed before these configs can be used, and what stands against it."""
        steps: set[str] = set()
        missing: list[Condition] = []
        for name in dict.fromkeys(config):
            state = self.configs.get(name, ConfigState(False, problem=f"Specified configuration {name} does not exist"))
            if state.step is not None:
                steps.add(state.step)
            elif not state.ok:
                missing.append(Condition("config-missing", state.problem, fatal=True))
        return frozenset(steps), missing


def slot_of(link: Link) -> SlotKey:
    """`link.id.key` without building the id."""
    return link.source_id, link.name, link.wit_namespace, link.wit_package


def _index(observed: Observed) -> dict[str, dict[str, backoff.Attempt]]:
    """By workload and host, the command that says most about what will run: one under way, else the latest."""
    found: dict[str, dict[str, backoff.Attempt]] = defaultdict(dict)
    for attempt in observed.attempts.values():
        command = attempt.command
        if attempt.settled or not isinstance(command, ScaleComponent | StartProvider | StopProvider):
            continue
        if not _starts(command) and (not attempt.pending or _is_done(command, observed)):
            continue
        host = observed.hosts.get(command.host)
        if host is None or not host.live:
            continue
        known = found[command.id].get(host.id)
        if known is None or _weight(attempt) > _weight(known):
            found[command.id][host.id] = attempt
    return dict(found)


def _ended(observed: Observed) -> dict[str, list[ScaleComponent]]:
    found: dict[str, list[ScaleComponent]] = defaultdict(list)
    for attempt in observed.attempts.values():
        command = attempt.command
        ends = isinstance(command, ScaleComponent) and not command.count
        if ends and attempt.pending and _is_done(command, observed):
            found[command.id].append(command)
    return dict(found)


def _is_done(command: ScaleComponent | StartProvider | StopProvider, observed: Observed) -> bool:
    """Whether what an order ends has ended."""
    host = observed.hosts.get(command.host)
    return host is None or command.id not in (
        host.components if isinstance(command, ScaleComponent) else host.providers
    )


def _starts(command: Command) -> bool:
    return isinstance(command, StartProvider) or (isinstance(command, ScaleComponent) and command.count > 0)


def _weight(attempt: backoff.Attempt) -> tuple[bool, bool, float]:
    """A start beside a stop is what remains once both are done: a provider restarts."""
    return attempt.pending, isinstance(attempt.command, StartProvider), attempt.at


def _quantized(share: float) -> int:
    return int(min(max(share, 0.0), 1.0) * _QUANTA)
