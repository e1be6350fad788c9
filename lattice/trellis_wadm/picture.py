"""The reconciler's picture of its lattice: what was heard, put together. Synchronous; times are arguments.

The laws of this file: what a host runs is taken from its inventory and from nothing else; everything else that
is heard of a host only makes its inventory worth asking for again; a host whose beats stop is asked before it
is given up, and one that is gone is forgotten after a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from trellis_lattice.bus.membership import Member
from trellis_lattice.control.host import HostInventory
from trellis_lattice.links import Link
from trellis_wadm.inventory import CORDON_LABEL, DRAIN_LABEL, host_of
from trellis_wadm.planner.world import Host

__all__ = ["CORDON_LABEL", "DRAIN_LABEL", "HostFile", "Picture"]

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
    suspect: bool = False
    """Its beats are late: whoever waits for an answer from it may wait in vain."""
    news: int = 1
    """Grows with every reason to read its inventory again."""
    read: int = 0
    """How much of the news its inventory covers."""
    void: int = 0
    """Answers that cover no more news than this are from before it was gone, or from an earlier process."""
    asked: float = -math.inf
    """When its inventory was last asked for."""
    beat_draining: bool = False
    unhealthy: set[str] = field(default_factory=set)
    """Ids of providers whose last health check failed."""
    host: Host | None = None
    """What the planner sees, until something changes."""

    @property
    def stale(self) -> bool:
        """Whether its inventory may say something else by now."""
        return self.read < self.news


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
            file.live, file.since, file.host = True, now, None
            file.news += 1
            self.changed(f"host {id} is back")
        file.heard = now
        return file

    def saw_beat(self, id: str, draining: bool, now: float) -> None:
        """A beat that said something new: its inventory is to be read again."""
        file = self.found_host(id, now)
        file.beating, file.beat_draining, file.suspect, file.host = True, draining, False, None
        self.touch(id, f"host {id} changed")

    def suspect(self, id: str) -> None:
        """Its beats are late. A killed process has nobody listening: asking tells at once, waiting takes longer."""
        file = self.hosts.get(id)
        if file is not None:
            file.suspect = True
            self.touch(id, f"host {id} is quiet")

    def restarted(self, id: str) -> None:
        """Another process runs under this id: what was known of the old one is void."""
        file = self.hosts.get(id)
        if file is not None:
            file.inventory = file.host = None
            file.void = file.news
            file.news += 1
            file.unhealthy.clear()

    def touch(self, id: str, reason: str) -> None:
        """Something happened on a host: its inventory is to be asked for again."""
        file = self.hosts.get(id)
        if file is not None:
            file.news += 1
            self.changed(reason)

    def asking(self, id: str, now: float) -> int:
        """Its inventory is being asked for; the number goes with the answer, to tell what that covers."""
        file = self.hosts[id]
        file.asked = now
        return file.news

    def saw_inventory(self, inventory: HostInventory, now: float, covers: int | None = None) -> None:
        """The answer of a host to a question asked when there was that much news of it; None: asked just now."""
        known = self.hosts.get(inventory.host_id)
        if known is not None and covers is not None and (covers <= known.void or covers < known.read):
            return
        file = self.found_host(inventory.host_id, now)
        file.inventory, file.host, file.read = inventory, None, file.news if covers is None else covers

    def unreadable(self, id: str, covers: int) -> None:
        """Its answer made no sense: what was known before stays."""
        file = self.hosts.get(id)
        if file is not None:
            file.read = max(file.read, covers)

    def lost_host(self, id: str, now: float) -> None:
        """A host said goodbye, or proved to be gone."""
        file = self.hosts.get(id)
        if file is not None and file.live:
            file.live, file.since, file.inventory, file.host = False, now, None, None
            file.void = file.news
            file.news += 1
            file.beating = file.beat_draining = file.suspect = False
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
        file.host = None
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

    def world(
        self, members: Mapping[str, Member] | None = None
    ) -> tuple[dict[str, Host], tuple[Link, ...], dict[str, Mapping[str, str]]]:
        """Hosts, links and configs as the planner wants them; `members` tell how loaded each host is."""
        links = tuple(link for source in sorted(self.links) for link in self.links[source])
        hosts = {id: _host(file, members.get(id) if members else None) for id, file in self.hosts.items()}
        return hosts, links, dict(self.configs)


def _probe_at(file: HostFile) -> float:
    if file.beating:
        return math.inf
    return max(file.heard, file.asked) + (PROBE_NEW_EVERY if file.heard - file.since < NEW_FOR else PROBE_EVERY)


def _host(file: HostFile, member: Member | None) -> Host:
    """Made once and kept until something changes: a pass over a thousand hosts makes few anew."""
    host = file.host
    if host is None:
        inventory = file.inventory
        if inventory is None:
            host = Host(file.id, live=file.live, known=False, draining=file.beat_draining, since=file.since)
        else:
            host = host_of(
                inventory,
                live=file.live,
                draining=file.beat_draining,
                since=file.since,
                unhealthy=file.unhealthy,
            )
        file.host = host
    if member is not None and (host.load, host.memory) != (member.beat.load, member.beat.memory):
        host = file.host = replace(host, load=member.beat.load, memory=member.beat.memory)
    return host
