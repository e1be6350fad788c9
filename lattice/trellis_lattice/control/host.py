"""Hosts: ping, inventory, stop (lattice-protocol 1.4)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AliasChoices, Field

from trellis_lattice.control.operation import Answerers, Argument, ControlOperation
from trellis_lattice.wire import Annotations, ConfigNames, Count, Labels, Ref, StringMap, Text, WireModel

__all__ = [
    "GET",
    "MAX_PREPARED",
    "PING",
    "STAYS",
    "STOP",
    "CallCount",
    "ComponentDescription",
    "HostInfo",
    "HostInventory",
    "LinkReport",
    "ProviderDescription",
    "Stays",
    "StopHost",
    "uptime_human",
]

_Revision = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
_MAX_WORKLOADS = 65536
MAX_PREPARED = 1024
"""Images that a host tells it has ready."""


class HostInfo(WireModel):
    """How a host answers a ping. Urls and version are left out when unknown."""

    id: str = ""
    friendly_name: Text = ""
    lattice: str = ""
    labels: Labels = Field(default_factory=dict)
    uptime_seconds: int = 0
    uptime_human: str | None = None
    version: str | None = None
    ctl_host: str | None = None
    rpc_host: str | None = None
    js_domain: str | None = None


class ComponentDescription(WireModel):
    """A component that a host runs."""

    null_when_absent: ClassVar[frozenset[str]] = frozenset({"limits"})
    absent_when_empty: ClassVar[frozenset[str]] = frozenset({"config"})

    id: str
    image_ref: Ref
    name: Text | None = None
    annotations: Annotations | None = None
    revision: _Revision = 0
    max_instances: Count
    limits: StringMap | None = None
    config: ConfigNames = ()
    """The configs it was started with; v1 ignores it."""


class ProviderDescription(WireModel):
    """A provider that a host runs."""

    absent_when_empty: ClassVar[frozenset[str]] = frozenset({"config", "restarts"})

    id: str
    image_ref: Ref = ""
    name: Text | None = None
    annotations: Annotations | None = None
    revision: _Revision = 0
    problem: Text | None = None
    """Why it cannot do all that its links ask for, or does not run at the moment; v1 ignores it."""
    restarts: Annotated[int, Field(ge=0)] = 0
    """How often its host started it again because it had failed; v1 ignores it."""
    config: ConfigNames = ()
    """The configs it was started with; v1 ignores it."""


class LinkReport(WireModel):
    """What the provider at one end of a link makes of it. `problem`: why it refuses the link, None if it has it."""

    provider_id: str
    source_id: str
    target: str
    name: str
    wit_namespace: str
    wit_package: str
    problem: Text | None = None


class CallCount(WireModel):
    """How many calls from `source` to `target` this host made: in its own process, and over the lattice."""

    source: str
    target: str
    local: Annotated[int, Field(ge=0)] = 0
    lattice: Annotated[int, Field(ge=0)] = 0


class HostInventory(WireModel):
    """Everything a host runs; also the data of a heartbeat event."""

    absent_when_empty: ClassVar[frozenset[str]] = frozenset({"draining", "links", "prepared"})

    host_id: str
    friendly_name: Text
    version: str = ""
    uptime_human: str = ""
    uptime_seconds: int = 0
    labels: Labels
    components: Annotated[
        tuple[ComponentDescription, ...],
        Field(max_length=_MAX_WORKLOADS, validation_alias=AliasChoices("components", "actors")),
    ]
    providers: Annotated[tuple[ProviderDescription, ...], Field(max_length=_MAX_WORKLOADS)]
    calls: Annotated[tuple[CallCount, ...], Field(max_length=_MAX_WORKLOADS)] | None = None
    """Since the host started, the busiest pairs first; v1 ignores it, and heartbeats leave it out."""
    links: Annotated[tuple[LinkReport, ...], Field(max_length=_MAX_WORKLOADS)] = ()
    """Links that providers here have or refuse; v1 ignores it, and heartbeats leave it out."""
    prepared: Annotated[tuple[Ref, ...], Field(max_length=MAX_PREPARED)] = ()
    """Images that are fetched and compiled here beforehand; v1 ignores it."""
    starting: Annotated[tuple[str, ...], Field(max_length=_MAX_WORKLOADS)] | None = None
    """Ids of workloads that are being started; v1 ignores it, and its hosts do not say."""
    in_flight: Annotated[int, Field(ge=0)] | None = None
    """Calls that are executed here at the moment; v1 ignores it, and heartbeats leave it out."""
    draining: bool = False
    """Whether the host is about to leave and gives its work away; v1 ignores it."""
    cut_off: Text | None = None
    """That it is, or was lately, cut off from its lattice, for how long and why; v1 ignores it."""


class StopHost(WireModel):
    """`host_id`, if given, must be the receiver's; `timeout` in milliseconds, absent: at once."""

    host_id: str = ""
    timeout: Annotated[int, Field(ge=0, le=2**63)] | None = None


class Stays(WireModel):
    """Which workloads of a leaving host the scheduler will not move: their ids. Ours; v1 hosts refuse it."""

    workloads: Annotated[tuple[str, ...], Field(max_length=_MAX_WORKLOADS)]


PING: ControlOperation[None, HostInfo] = ControlOperation("host", "ping", None, HostInfo, answerers=Answerers.EVERY)
GET: ControlOperation[None, HostInventory] = ControlOperation("host", "get", None, HostInventory, Argument.HOST)
STOP: ControlOperation[StopHost, None] = ControlOperation("host", "stop", StopHost, None, Argument.HOST, empty=StopHost)
STAYS: ControlOperation[Stays, None] = ControlOperation("host", "stays", Stays, None, Argument.HOST)

_UNITS = (("year", 31_557_600), ("month", 2_630_016), ("day", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def uptime_human(seconds: int) -> str:
    """`1h 2m 3s`, whole seconds, as v1 writes durations (years, months and days are words)."""
    parts = []
    for unit, length in _UNITS:
        number, seconds = divmod(seconds, length)
        if number:
            parts.append(f"{number}{unit}{'s' if len(unit) > 1 and number > 1 else ''}")
    return " ".join(parts) or "0s"
