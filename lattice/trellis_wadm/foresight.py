"""What plans will have done to a lattice before they do it: each is applied to a copy of the world. Pure.

One plan is one pass of the reconciler. Where it starts something before it stops something else, or goes from host to
host, the next pass follows when the world has become what the first asked for; here it does so at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from trellis_lattice.links import Link
from trellis_wadm import backoff
from trellis_wadm.planner.commands import (
    Command,
    DeleteConfig,
    DeleteLink,
    PrepareComponent,
    PutConfig,
    PutLink,
    ScaleComponent,
    StartProvider,
    StopProvider,
)
from trellis_wadm.planner.desired import Desired
from trellis_wadm.planner.planning import DEFAULT_POLICY, plan
from trellis_wadm.planner.result import Plan
from trellis_wadm.planner.world import Host, Observed, RunningComponent, RunningProvider

__all__ = ["MAX_PASSES", "Foresight", "after", "foresee"]

MAX_PASSES = 64
"""Passes that are looked ahead at most; a rolling update has one for each host."""


@dataclass(frozen=True, slots=True)
class Foresight:
    """The passes that change something, in order, and the one that follows them.

    `last` has no steps if the world comes to rest within the passes that were looked ahead.
    """

    passes: tuple[Plan, ...]
    last: Plan

    @property
    def settles(self) -> bool:
        return not self.last.steps


def foresee(
    desired: Desired,
    observed: Observed,
    now: float,
    policy: backoff.Policy = DEFAULT_POLICY,
    *,
    passes: int = MAX_PASSES,
) -> Foresight:
    """What becomes of `observed` if every command succeeds at once."""
    made: list[Plan] = []
    while True:
        found = plan(desired, observed, now, policy)
        if not found.steps or len(made) == passes:
            return Foresight(tuple(made), found)
        made.append(found)
        observed = after(observed, found)


def after(observed: Observed, found: Plan) -> Observed:
    """The world once the steps of a plan have been carried out; what became of earlier commands is forgotten."""
    world = _World(observed)
    for step in found.steps:
        world.apply(step.command)
    return replace(world.observed(), owned=found.owned, attempts={}, since=found.since)


class _World:
    """A world that changes. Hosts are copied when they change first."""

    def __init__(self, observed: Observed) -> None:
        self._before = observed
        self._hosts = dict(observed.hosts)
        self._components: dict[str, dict[str, RunningComponent]] = {}
        self._providers: dict[str, dict[str, RunningProvider]] = {}
        self._prepared: dict[str, set[str]] = {}
        self._links = list(observed.links)
        self._configs = dict(observed.configs)

    def observed(self) -> Observed:
        hosts = {id: self._host(host) for id, host in self._hosts.items()}
        return replace(self._before, hosts=hosts, links=tuple(self._links), configs=self._configs)

    def _host(self, host: Host) -> Host:
        changes: dict[str, object] = {}
        if host.id in self._components:
            changes["components"] = self._components[host.id]
        if host.id in self._providers:
            changes["providers"] = self._providers[host.id]
        if host.id in self._prepared:
            changes["prepared"] = frozenset(self._prepared[host.id])
        return replace(host, **changes) if changes else host  # type: ignore[arg-type]

    def apply(self, command: Command) -> None:
        match command:
            case PutConfig(name, properties):
                self._configs[name] = properties
            case DeleteConfig(name):
                self._configs.pop(name, None)
            case PutLink(link):
                self._links = [stored for stored in self._links if stored.key != link.key] + [link]
            case DeleteLink():
                self._links = [stored for stored in self._links if not _is(stored, command)]
            case StartProvider():
                self._providers_of(command.host)[command.id] = RunningProvider(
                    command.id, command.image, command.annotations
                )
            case StopProvider():
                self._providers_of(command.host).pop(command.id, None)
            case ScaleComponent():
                self._scale(command)
            case PrepareComponent(host, image):
                known: Mapping[str, Host] = self._hosts
                self._prepared.setdefault(host, set(known[host].prepared)).add(image)
            case _:
                assert_never(command)

    def _scale(self, command: ScaleComponent) -> None:
        running = self._components.setdefault(command.host, dict(self._hosts[command.host].components))
        if command.count:
            running[command.id] = RunningComponent(command.id, command.image, command.count, command.annotations)
        else:
            running.pop(command.id, None)

    def _providers_of(self, host: str) -> dict[str, RunningProvider]:
        return self._providers.setdefault(host, dict(self._hosts[host].providers))


def _is(stored: Link, command: DeleteLink) -> bool:
    wanted = (command.source_id, command.name, command.wit_namespace, command.wit_package)
    return stored.id.key == wanted and stored.target == command.target
