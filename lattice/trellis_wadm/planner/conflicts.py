"""Wishes of applications that cannot hold together. Found before anything is done, so that nothing ever flaps.

Who was there first keeps what it has (`settled`); else the application that comes first by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from trellis_wadm.manifest.listeners import Listener, clash, listener_of, port_of
from trellis_wadm.planner.desired import Desired, LinkScaler, Spread, WorkloadScaler
from trellis_wadm.planner.link import rivals, same_link
from trellis_wadm.planner.view import slot_of
from trellis_wadm.planner.world import SlotKey

__all__ = ["Conflict", "find_conflicts", "listener"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why a scaler cannot have its way, and the application that stands against it."""

    scaler: str
    app: str
    other: str
    code: str
    message: str


def find_conflicts(
    desired: Desired, settled: Set[str] = frozenset(), configs: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, Conflict]:
    """Losing scalers by id. `settled` are ids of scalers that hold already; `configs` are those stored."""
    found: dict[str, Conflict] = {}
    for conflict in (*_same_workload(desired, settled), *_links(desired, settled, configs or {})):
        found.setdefault(conflict.scaler, conflict)
    return found


def _same_workload(desired: Desired, settled: Set[str]) -> Iterator[Conflict]:
    first: dict[str, WorkloadScaler] = {}
    for scaler in sorted(desired.all_workloads(), key=lambda scaler: scaler.id not in settled):
        other = first.setdefault(scaler.workload, scaler)
        if other is not scaler:
            message = (
                f"Component identifier '{scaler.workload}' is already deployed "
                f"in a different application '{other.app}'."
            )
            yield Conflict(scaler.id, scaler.app, other.app, "duplicate-id", message)


def _links(desired: Desired, settled: Set[str], configs: Mapping[str, Mapping[str, str]]) -> Iterator[Conflict]:
    values = {**configs, **{c.name: c.properties for c in desired.all_configs() if c.properties is not None}}
    places = {scaler.workload: scaler.spreads for scaler in desired.all_workloads()}
    slots: dict[SlotKey, list[LinkScaler]] = defaultdict(list)
    ports: dict[str, list[tuple[LinkScaler, Listener]]] = defaultdict(list)
    for scaler in sorted(desired.all_links(), key=lambda scaler: scaler.id not in settled):
        own, slot = listener(scaler, values), slot_of(scaler.link)
        port = port_of(own.address)[1] if own is not None else ""
        conflict = _same_slot(scaler, slots.get(slot, ()))
        if conflict is None and own is not None:
            conflict = _same_port(scaler, own, ports.get(port, ()), places)
        if conflict is not None:
            yield conflict
            continue
        slots[slot].append(scaler)
        if own is not None:
            ports[port].append((scaler, own))


def _same_slot(scaler: LinkScaler, kept: Sequence[LinkScaler]) -> Conflict | None:
    link = scaler.link
    what = f"under the name '{link.name}' for {link.wit_namespace}:{link.wit_package}"
    for other in kept:
        if rivals(link, (other.link,)):
            message = f"The application '{other.app}' links {link.source_id} to {other.link.target} {what} already."
            return Conflict(scaler.id, scaler.app, other.app, "link-conflict", message)
        if link.target == other.link.target and not same_link(link, other.link):
            # There is one such link in the lattice: two wishes about it would be written to and fro for ever.
            message = (
                f"The application '{other.app}' links {link.source_id} to {link.target} {what} already, "
                "with other interfaces or configs."
            )
            return Conflict(scaler.id, scaler.app, other.app, "link-differs", message)
    return None


def _same_port(
    scaler: LinkScaler,
    own: Listener,
    kept: Sequence[tuple[LinkScaler, Listener]],
    places: Mapping[str, Sequence[Spread]],
) -> Conflict | None:
    link = scaler.link
    for other, theirs in kept:
        if link.source_id == other.link.source_id and link.target == other.link.target:
            continue
        reason = clash(theirs, own)
        if reason and _may_meet(places.get(link.source_id, ()), places.get(other.link.source_id, ())):
            message = (
                f"Two listeners on one address: '{theirs.component}' of application '{other.app}' and "
                f"'{own.component}' of application '{scaler.app}': {reason}."
            )
            return Conflict(scaler.id, scaler.app, other.app, "address-in-use", message)
    return None


def listener(scaler: LinkScaler, values: Mapping[str, Mapping[str, str]]) -> Listener | None:
    """The route that a link opens, given the properties of configs by name."""
    if not scaler.listens:
        return None
    names = (*scaler.provider_config, *scaler.link.source_config)
    complete = all(name in values for name in names)
    provider = {k: v for name in scaler.provider_config for k, v in values.get(name, {}).items()}
    link = {k: v for name in scaler.link.source_config for k, v in values.get(name, {}).items()}
    return listener_of(scaler.app, scaler.component, (), provider, link, complete)


def _may_meet(some: Sequence[Spread], others: Sequence[Spread]) -> bool:
    """Whether one host may fit both: nothing in their requirements keeps them apart."""
    if not some or not others:
        return True
    return any(
        all(other.requirements.get(key, value) == value for key, value in spread.requirements.items())
        for spread in some
        for other in others
    )
