"""A lattice that carries out commands at once: what `plan` is judged against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from trellis_lattice.links import Link
from trellis_wadm.journal import Journal
from trellis_wadm.planner import Command, Desired, Host, Observed, Owned, Plan, RunningComponent, RunningProvider, plan
from trellis_wadm.planner.commands import (
    DeleteConfig,
    DeleteLink,
    PrepareComponent,
    PutConfig,
    PutLink,
    ScaleComponent,
    StartProvider,
    StopProvider,
)
from trellis_wadm.planner.planning import DEFAULT_POLICY
from trellis_wadm.planner.world import SinceKey


def host(
    id: str, *, cordoned: bool = False, draining: bool = False, live: bool = True, foreign: bool = False, **labels: str
) -> Host:
    """A host of ours, or one of v1."""
    kind = {} if foreign else {"host.impl": "trellis"}
    return Host(id, id, {**labels, **kind}, {}, {}, live=live, cordoned=cordoned, draining=draining)


@dataclass
class World:
    """Hosts, links and configs; `apply` changes them as a host of the lattice would."""

    hosts: dict[str, Host] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    configs: dict[str, Mapping[str, str]] = field(default_factory=dict)
    owned: Owned = field(default_factory=Owned)

    @classmethod
    def of(cls, *hosts: Host) -> Self:
        return cls({host.id: host for host in hosts})

    def observed(self) -> Observed:
        return Observed(dict(self.hosts), tuple(self.links), dict(self.configs), self.owned)

    def plan(self, desired: Desired) -> Plan:
        return plan(desired, self.observed(), 100.0)

    def settle(self, desired: Desired, passes: int = 8) -> int:
        """Plans and applies until nothing is left to do; returns how many plans had commands."""
        for count in range(passes):
            found = self.plan(desired)
            self.owned = found.owned
            if not found.commands:
                return count
            self.apply_all(found.commands)
        raise AssertionError(f"not settled after {passes} passes: {self.plan(desired).commands}")

    def apply_all(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self.apply(command)

    def apply(self, command: Command) -> None:
        match command:
            case PutConfig(name, properties):
                self.configs[name] = properties
            case DeleteConfig(name):
                del self.configs[name]
            case PutLink(link):
                assert set(link.source_config) | set(link.target_config) <= self.configs.keys()
                assert not [o for o in self.links if o.target != link.target and o.overlaps(link)], command
                self.links = [stored for stored in self.links if stored.key != link.key] + [link]
            case DeleteLink():
                slot = (command.source_id, command.name, command.wit_namespace, command.wit_package)
                self.links.remove(next(stored for stored in self.links if stored.id.key == slot))
            case StartProvider():
                host = self.hosts[command.host]
                assert command.id not in host.providers, "a provider with that id runs already"
                assert set(command.config) <= self.configs.keys()
                started = RunningProvider(command.id, command.image, command.annotations)
                self.hosts[host.id] = replace(host, providers={**host.providers, command.id: started})
            case StopProvider():
                host = self.hosts[command.host]
                left = {id: running for id, running in host.providers.items() if id != command.id}
                assert len(left) < len(host.providers), "no such provider"
                self.hosts[host.id] = replace(host, providers=left)
            case ScaleComponent():
                host = self.hosts[command.host]
                before = host.components.get(command.id)
                if before and command.count and before.image != command.image:
                    assert command.allow_update, "it was not asked to exchange the image"
                    assert host.ours, "v1 keeps the image that runs"
                left_components = {id: running for id, running in host.components.items() if id != command.id}
                if command.count:
                    assert set(command.config) <= self.configs.keys()
                    # v1 changes the annotations of what runs no more than its image.
                    annotations = before.annotations if before and not host.ours else command.annotations
                    left_components[command.id] = RunningComponent(
                        command.id, command.image, command.count, annotations
                    )
                self.hosts[host.id] = replace(host, components=left_components)
            case PrepareComponent(id, image):
                host = self.hosts[id]
                self.hosts[id] = replace(host, prepared=host.prepared | {image})

    def count(self, id: str) -> dict[str, int]:
        """Instances of a component, or 1 for a provider, by host."""
        counts = {h.id: h.components[id].max_instances for h in self.hosts.values() if id in h.components}
        return counts | {h.id: 1 for h in self.hosts.values() if id in h.providers}


@dataclass
class Reconciled(World):
    """A lattice with a reconciler: remembers what became of its commands, as the leader does.

    `refuses` are images that a host cannot start, by host; where an image is to be exchanged, the old one goes on.
    """

    refuses: set[tuple[str, str]] = field(default_factory=set)
    journal: Journal = field(default_factory=lambda: Journal(DEFAULT_POLICY))
    since: Mapping[SinceKey, float] = field(default_factory=dict)
    now: float = 100.0
    history: list[Command] = field(default_factory=list)

    def look(self, desired: Desired) -> Plan:
        """The plan that would be made now."""
        observed = replace(self.observed(), attempts=self.journal.attempts, since=self.since)
        return plan(desired, observed, self.now)

    def make_pass(self, desired: Desired) -> Plan:
        """One pass: plan, act, remember."""
        found = self.look(desired)
        self.owned, self.since = found.owned, found.since
        self.now += 0.1
        failed: set[str] = set()
        for step in found.steps:
            if step.needs & failed:
                failed.add(step.key)
                continue
            self.journal.sent(step.command, step.app, self.now)
            self.history.append(step.command)
            if self._is_refused(step.command):
                self.journal.failed(step.command, "it cannot run here", self.now, final=True)
            else:
                self.apply(step.command)
        self.journal.keep_only(found.wanted, self.now)
        return found

    def _is_refused(self, command: Command) -> bool:
        match command:
            case StartProvider(host=host, image=image):
                return (host, image) in self.refuses
            case ScaleComponent(host=host, image=image, count=count):
                return count > 0 and (host, image) in self.refuses
            case _:
                return False

    def reconcile(self, desired: Desired, passes: int = 40) -> int:
        """Passes until nothing is left to do, now or later; returns how many had commands."""
        for count in range(passes):
            found = self.make_pass(desired)
            if not found.steps and found.wake_at is None:
                return count
            if not found.steps and found.wake_at is not None:
                self.now = found.wake_at
        raise AssertionError(f"not settled after {passes} passes: {self.look(desired).commands}")
