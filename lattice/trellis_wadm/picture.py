"""The reconciler's picture of its lattice: what was heard, put together. Synchronous; times are arguments.

The laws of this file: what a host runs is taken from its inventory and from nothing else; everything else that
is heard of a host only makes its inventory worth asking for again; a host whose beats stop is asked before it
is given up, and one that is gone is forgotten after a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from trellis_lattice.control.host import HostInventory
from trellis_lattice.links import Link
from trellis_wadm.planner.world import Host, RunningComponent, RunningProvider

__all__ = ["CORDON_LABEL", "DRAIN_LABEL", "HostFile", "Picture"]

CORDON_LABEL = "trellis.dev/cordoned"
DRAIN_LABEL = "trellis.dev/draining"

PROBE_EVERY = 5.0
"""Seconds after which a host that sends no beats (a foreign one) is asked again."""
PROBE_NEW_EVERY = 1.5
NEW_FOR = 4.0
"""Seconds in which a host's first beat is to be heard; until then it is asked more often."""
SILENT_AFTER = 12.0
"""Seconds without any answer after which such a host counts as gone."""
FORGET_AFTER = 600.0
"""Seconds for which a host that is gone is still named among the reasons of a plan."""


@dataclass(slots=True)
class HostFile:
    """What is known about one host."""

    id: str
    inventory: HostInventory | None = None
    live: bool = True
    since: float = 0.0
    heard: float = 0.0
    """When it last answered or said something."""
    beating: bool = False
    """Whether its beats are heard: then their end says that it is gone, and nothing else does."""
    stale: bool = True
    cordoned: bool = False
    draining: bool = False
    beat_draining: bool = False
    unhealthy: set[str] = field(default_factory=set)
    """Ids of providers whose last health check failed."""


@dataclass(slots=True)
class Picture:
    """All that is known; `changed` is called with a reason whenever a new plan may be due."""

    changed: Callable[[str], None]
    hosts: dict[str, HostFile] = field(default_factory=dict)
    links: dict[str, tuple[Link, ...]] = field(default_factory=dict)
    configs: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def found_host(self, id: str, now: float) -> HostFile:
        """A host gave a sign of life, whatever it was."""
        file = self.hosts.get(id)
        if file is None:
            file = self.hosts[id] = HostFile(id, since=now)
            self.changed(f"host {id} joined")
        elif not file.live:
            file.live, file.since, file.stale = True, now, True
            self.changed(f"host {id} is back")
        file.heard = now
        return file

    def saw_beat(self, id: str, draining: bool, now: float) -> None:
        """A beat that said something new: its inventory is to be read again."""
        file = self.found_host(id, now)
        file.beating, file.beat_draining = True, draining
        self.touch(id, f"host {id} changed")

    def touch(self, id: str, reason: str) -> None:
        """Something happened on a host: its inventory is to be asked for again."""
        file = self.hosts.get(id)
        if file is not None:
            file.stale = True
            self.changed(reason)

    def saw_inventory(self, inventory: HostInventory, now: float) -> None:
        file = self.found_host(inventory.host_id, now)
        file.inventory = inventory
        file.stale = False
        file.cordoned = inventory.labels.get(CORDON_LABEL) == "true"
        file.draining = inventory.labels.get(DRAIN_LABEL) == "true"

    def lost_host(self, id: str, now: float) -> None:
        """A host said goodbye, or proved to be gone."""
        file = self.hosts.get(id)
        if file is not None and file.live:
            file.live, file.since, file.inventory, file.stale = False, now, None, True
            file.beating = file.beat_draining = False
            file.unhealthy.clear()
            self.changed(f"host {id} is gone")

    def to_ask(self, now: float) -> list[str]:
        """Hosts whose inventory is to be asked for: it may have changed, or nothing else tells that they live."""
        return [id for id, file in sorted(self.hosts.items()) if file.live and (file.stale or now >= _probe_at(file))]

    def next_check(self, default: float) -> float:
        """When a host that sends no beats is to be asked again, or `default` if that is earlier."""
        return min([default, *(_probe_at(file) for file in self.hosts.values() if file.live)])

    def saw_health(self, host: str, provider: str, healthy: bool) -> None:
        """The outcome of a provider's health check, or that it started anew."""
        file = self.hosts.get(host)
        if file is None or (provider not in file.unhealthy) is healthy:
            return
        if healthy:
            file.unhealthy.discard(provider)
        else:
            file.unhealthy.add(provider)
        self.changed(f"health of {provider} on {host} changed")

    def no_answer(self, id: str, absent: bool, now: float) -> None:
        """A host that was asked did not answer; `absent` if nobody listens on its behalf at all."""
        file = self.hosts.get(id)
        if file is not None and (absent or (not file.beating and now - file.heard > SILENT_AFTER)):
            self.lost_host(id, now)

    def forget_old(self, now: float) -> None:
        for id in [id for id, file in self.hosts.items() if not file.live and now - file.since > FORGET_AFTER]:
            del self.hosts[id]

    def set_links(self, source: str, links: Iterable[Link]) -> None:
        """All links of one source."""
        new = tuple(links)
        if self.links.get(source, ()) != new:
            if new:
                self.links[source] = new
            else:
                del self.links[source]
            self.changed(f"links of {source} changed")

    def set_config(self, name: str, values: Mapping[str, str] | None) -> None:
        """A config's properties; None if it is gone."""
        if self.configs.get(name) == values:
            return
        if values is None:
            self.configs.pop(name, None)
        else:
            self.configs[name] = values
        self.changed(f"config {name} changed")

    def world(self) -> tuple[dict[str, Host], tuple[Link, ...], dict[str, Mapping[str, str]]]:
        """Hosts, links and configs as the planner wants them."""
        links = tuple(link for source in sorted(self.links) for link in self.links[source])
        return {id: _host(file) for id, file in self.hosts.items()}, links, dict(self.configs)


def _probe_at(file: HostFile) -> float:
    if file.beating:
        return math.inf
    return file.heard + (PROBE_NEW_EVERY if file.heard - file.since < NEW_FOR else PROBE_EVERY)


def _host(file: HostFile) -> Host:
    inventory = file.inventory
    if inventory is None:
        return Host(
            file.id,
            live=file.live,
            known=False,
            cordoned=file.cordoned,
            draining=file.draining or file.beat_draining,
            since=file.since,
        )
    components = {
        c.id: RunningComponent(c.id, c.image_ref, c.max_instances, dict(c.annotations or {}))
        for c in inventory.components
    }
    providers = {
        p.id: RunningProvider(
            p.id, p.image_ref, dict(p.annotations or {}), healthy=p.id not in file.unhealthy, problem=p.problem or ""
        )
        for p in inventory.providers
    }
    return Host(
        id=file.id,
        name=inventory.friendly_name,
        labels=inventory.labels,
        components=components,
        providers=providers,
        live=file.live,
        cordoned=file.cordoned,
        draining=file.draining or file.beat_draining,
        since=file.since,
    )
