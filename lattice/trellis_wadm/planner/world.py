"""What is: hosts and what runs on them, links, configs. The planner's picture of the lattice, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trellis_lattice.links import Link
from trellis_wadm.backoff import Attempt

__all__ = [
    "Host",
    "LinkKey",
    "Observed",
    "Owned",
    "RunningComponent",
    "RunningProvider",
    "SinceKey",
    "SlotKey",
]

LinkKey = tuple[str, str, str, str, str]
"""Identity of a stored link (`Link.key`)."""
SlotKey = tuple[str, str, str, str]
"""Identity of a link for v1's delete, where targets do not count (`Link.id.key`)."""
SinceKey = tuple[str, str, str]
"""Identity of a condition: scaler id, reason, host."""


@dataclass(frozen=True, slots=True)
class RunningComponent:
    """A component on a host; `max_instances` bounds its concurrent instances there."""

    id: str
    image: str
    max_instances: int
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunningProvider:
    """A provider on a host; `healthy` is what its last health check said, `problem` what keeps it from its work."""

    id: str
    image: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    healthy: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """A host as last heard of.

    `live` is False once its beats stopped, `known` is False before its inventory was read. `cordoned` takes no
    new work; `draining` gives its work away. `since` is when that state began. `load` and `memory` (0 to 1, of the
    processor and of the memory it may use) are what it said last; `prepared` are images it has compiled already.
    """

    id: str
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    components: Mapping[str, RunningComponent] = field(default_factory=dict)
    providers: Mapping[str, RunningProvider] = field(default_factory=dict)
    live: bool = True
    known: bool = True
    cordoned: bool = False
    draining: bool = False
    since: float = 0.0
    load: float = 0.0
    memory: float = 0.0
    prepared: frozenset[str] = frozenset()

    @property
    def ours(self) -> bool:
        """Whether it runs Trellis; any other speaks wasmCloud v1."""
        return self.labels.get("host.impl") == "trellis"

    @property
    def workloads(self) -> int:
        return len(self.components) + len(self.providers)


@dataclass(frozen=True, slots=True)
class Owned:
    """Links and configs that applications brought into the lattice, and nobody else: what may be taken away."""

    links: frozenset[LinkKey] = frozenset()
    configs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything `plan` may look at besides what is desired.

    `attempts` holds what became of earlier commands, by command key; `since` when each condition of the last
    plan began.
    """

    hosts: Mapping[str, Host] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    configs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    owned: Owned = field(default_factory=Owned)
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    since: Mapping[SinceKey, float] = field(default_factory=dict)

    @property
    def live_hosts(self) -> list[Host]:
        return [host for _, host in sorted(self.hosts.items()) if host.live]
