"""Everything known of one thing, on one page: sections of short tables for people, one object for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trellis_cli.links import link_status
from trellis_cli.output.document import Report
from trellis_cli.output.events import about, clock, event_item, summary
from trellis_cli.output.lattice import pairs
from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align
from trellis_lattice.control.component import UNBOUNDED
from trellis_lattice.control.host import ComponentDescription, HostInfo, HostInventory, ProviderDescription
from trellis_lattice.events import LatticeEvent
from trellis_lattice.links import Link

__all__ = ["Known", "describe_application", "describe_host", "describe_link", "describe_workload", "section"]

_APP = "wasmcloud.dev/appspec"
_SHOWN_EVENTS = 10


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a lattice at one time."""

    inventories: Sequence[HostInventory]
    links: Sequence[Link] = ()
    configs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    events: Sequence[LatticeEvent] = ()

    @property
    def host_names(self) -> dict[str, str]:
        return {host.host_id: host.friendly_name for host in self.inventories}


def section(title: str, rows: Iterable[Sequence[str]], style: Style = PLAIN, *, empty: str = "") -> str:
    """A titled table, its first row the headings, without empty columns; `empty` instead if there is only that."""
    table = [list(row) for row in rows]
    if len(table) < 2:
        return f"\n{style.bold(title)}\n  {empty}\n" if empty else ""
    used = [column for column in range(len(table[0])) if any(row[column] for row in table[1:])]
    table = [[row[column] for column in used] for row in table]
    lines = align([[cell.upper() for cell in table[0]], *table[1:]]).splitlines()
    painted = [f"  {style.dim(lines[0])}", *(f"  {line}" for line in lines[1:])]
    return f"\n{style.bold(title)}\n" + "".join(f"{line}\n" for line in painted)


def _head(facts: Iterable[tuple[str, str]]) -> str:
    return align([(name, value) for name, value in facts if value])


def describe_host(info: HostInfo, known: Known, style: Style = PLAIN) -> Report:
    """A host: who it is, what it runs, what went wrong there."""
    inventory = next((each for each in known.inventories if each.host_id == info.id), None)
    components = inventory.components if inventory else ()
    providers = inventory.providers if inventory else ()
    events = _events(known, lambda event: event.source == info.id)
    text = _head(
        (
            ("Host", info.friendly_name),
            ("Id", info.id),
            ("Version", info.version or ""),
            ("Uptime", info.uptime_human or f"{info.uptime_seconds}s"),
            ("NATS", info.rpc_host or ""),
            ("JetStream domain", info.js_domain or ""),
            ("Labels", pairs(info.labels)),
        )
    )
    rows = [("id", "max instances", "app", "image")]
    rows += [(c.id, _bound(c.max_instances), _app(c.annotations), c.image_ref) for c in components]
    text += section("Components", rows, style, empty="none")
    rows = [("id", "app", "image", "problem")]
    rows += [(p.id, _app(p.annotations), p.image_ref, p.problem or "") for p in providers]
    text += section("Providers", rows, style, empty="none")
    if inventory is not None and inventory.prepared:
        text += section("Prepared images", [("image",), *((image,) for image in inventory.prepared)], style)
    text += _event_section(events, known, style)
    data = {
        **info.model_dump(mode="json", exclude_none=True),
        "inventory": inventory.model_dump(mode="json", exclude_none=True) if inventory else None,
        "events": [event_item(event) for event in events],
    }
    return Report({"host": data}, text=text, names=[info.id])


def describe_workload(
    kind: str,
    id: str,
    found: Sequence[tuple[HostInventory, ComponentDescription | ProviderDescription]],
    known: Known,
    style: Style = PLAIN,
) -> Report:
    """A component or provider: where it runs, who calls it and whom it calls, its configuration, what happened."""
    first = found[0][1]
    images = sorted({item.image_ref for _, item in found})
    outgoing = [link for link in known.links if link.source_id == id]
    incoming = [link for link in known.links if link.target == id]
    configs = list(dict.fromkeys(name for _, item in found for name in item.config))
    events = _events(known, lambda event: id in about(event))
    limits = first.limits if isinstance(first, ComponentDescription) else None
    text = _head(
        (
            (kind.capitalize(), id),
            ("Application", _app(first.annotations) or "none: it was started by hand"),
            ("Image", ", ".join(images)),
            ("Limits", pairs(limits or {})),
            ("Annotations", pairs(_own(first.annotations))),
        )
    )
    text += section("Runs on", _places(kind, found, several=len(images) > 1), style)
    text += section("Calls (links out)", _links(outgoing, known, "target"), style, empty="nothing")
    text += section("Called by (links in)", _links(incoming, known, "source"), style, empty="nobody over links")
    shown = [(name, pairs(known.configs.get(name, {})) if name in known.configs else "missing") for name in configs]
    text += section("Configuration", [("name", "values"), *shown], style)
    text += _event_section(events, known, style)
    data = {
        "id": id,
        "application": _app(first.annotations) or None,
        "image_refs": images,
        "hosts": [
            {
                "host_id": host.host_id,
                "host_name": host.friendly_name,
                **item.model_dump(mode="json", exclude_none=True),
            }
            for host, item in found
        ],
        "links_out": [_link_data(link, known) for link in outgoing],
        "links_in": [_link_data(link, known) for link in incoming],
        "config": {name: dict(known.configs[name]) if name in known.configs else None for name in configs},
        "events": [event_item(event) for event in events],
    }
    return Report({kind: data}, text=text, names=[id])


def describe_link(links: Sequence[Link], known: Known, style: Style = PLAIN) -> Report:
    """Links between the same two: each with its state, its configuration, and which way its calls went."""
    text = ""
    for link in links:
        status = link_status(link, known.inventories)
        local, remote = _calls(link, known)
        text += ("\n" if text else "") + _head(
            (
                ("Link", f"{link.source_id} → {link.target}"),
                ("Name", link.name),
                ("Interfaces", ", ".join(link.interface_names)),
                ("State", str(status.state)),
                ("Reason", status.reason),
                ("Calls", f"{local} within a host, {remote} over the lattice"),
                ("Source runs on", _hosts_of(link.source_id, known)),
                ("Target runs on", _hosts_of(link.target, known)),
            )
        )
        names = [("source", name) for name in link.source_config] + [("target", name) for name in link.target_config]
        shown = [(side, name, pairs(known.configs.get(name, {}))) for side, name in names]
        text += section("Configuration", [("side", "name", "values"), *shown], style)
    ends = {end for link in links for end in (link.source_id, link.target)}
    events = _events(known, lambda event: event.kind.startswith("linkdef") and ends <= about(event) | ends)
    events = [event for event in events if about(event) & {link.source_id for link in links}]
    text += _event_section(events, known, style)
    data = [_link_data(link, known) for link in links]
    return Report({"links": data, "events": [event_item(event) for event in events]}, text=text)


def _places(
    kind: str, found: Sequence[tuple[HostInventory, ComponentDescription | ProviderDescription]], *, several: bool
) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for host, item in found:
        if isinstance(item, ComponentDescription):
            rows.append((host.friendly_name, _bound(item.max_instances), item.image_ref if several else ""))
        else:
            rows.append((host.friendly_name, item.problem or "", item.image_ref if several else ""))
    what = "max instances" if kind == "component" else "problem"
    head: Sequence[str] = ("host", what, "image" if several else "")
    return [head, *rows]


def _links(links: Sequence[Link], known: Known, other: str) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("interfaces", other, "name", "state", "local calls", "lattice calls", "reason")]
    for link in links:
        status = link_status(link, known.inventories)
        local, remote = _calls(link, known)
        end = link.target if other == "target" else link.source_id
        names = f"{link.wit_namespace}:{link.wit_package}/{','.join(link.interfaces)}"
        rows.append((names, end, link.name, str(status.state), str(local), str(remote), status.reason))
    return rows


def _link_data(link: Link, known: Known) -> dict[str, Any]:
    status = link_status(link, known.inventories)
    local, remote = _calls(link, known)
    state = {"state": str(status.state), "reason": status.reason or None}
    return {**link.model_dump(mode="json"), **state, "local_calls": local, "lattice_calls": remote}


def _calls(link: Link, known: Known) -> tuple[int, int]:
    """Calls from source to target since the hosts started: within a host, over the lattice."""
    counts: Counter[str] = Counter()
    for host in known.inventories:
        for each in host.calls or ():
            if (each.source, each.target) == (link.source_id, link.target):
                counts["local"] += each.local
                counts["lattice"] += each.lattice
    return counts["local"], counts["lattice"]


def _hosts_of(id: str, known: Known) -> str:
    names = [
        host.friendly_name
        for host in known.inventories
        if id in {item.id for item in host.components} or id in {item.id for item in host.providers}
    ]
    return ", ".join(sorted(names)) or "no host"


def _events(known: Known, fits: Any) -> list[LatticeEvent]:
    """The newest events that fit, oldest first."""
    wanted = [event for event in known.events if event.kind != "health_check_status" and fits(event)]
    return sorted(wanted, key=lambda event: (event.time, event.id))[-_SHOWN_EVENTS:]


def _event_section(events: Sequence[LatticeEvent], known: Known, style: Style) -> str:
    names = known.host_names
    rows = [
        (clock(event.time), clean(names.get(event.source, event.source[:8])), event.kind, clean(summary(event)))
        for event in events
    ]
    return section("Recent events", [("time", "host", "event", "what"), *rows], style)


def _own(annotations: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (annotations or {}).items() if not key.startswith("wasmcloud.dev/")}


def _app(annotations: Mapping[str, str] | None) -> str:
    return (annotations or {}).get(_APP, "")


def _bound(instances: int) -> str:
    return "unbounded" if instances == UNBOUNDED else str(instances)


def describe_application(name: str, known: Known, style: Style = PLAIN) -> tuple[str, dict[str, Any]]:
    """What runs of an application, its links and what happened to it: as text, and as data."""
    running = [
        (item.id, "component", host.friendly_name, f"max {_bound(item.max_instances)}", item.image_ref)
        for host in known.inventories
        for item in host.components
        if _app(item.annotations) == name
    ]
    running += [
        (item.id, "provider", host.friendly_name, item.problem or "", item.image_ref)
        for host in known.inventories
        for item in host.providers
        if _app(item.annotations) == name
    ]
    ids = {id for id, *_ in running}
    links = [link for link in known.links if link.source_id in ids or link.target in ids]
    events = _events(known, lambda event: bool(ids & about(event)))
    text = section("Runs", [("id", "kind", "host", "", "image"), *sorted(running)], style, empty="nothing")
    rows: list[Sequence[str]] = [("source", "target", "interfaces", "state", "local calls", "lattice calls", "reason")]
    for link in links:
        status = link_status(link, known.inventories)
        local, remote = _calls(link, known)
        interfaces = f"{link.wit_namespace}:{link.wit_package}/{','.join(link.interfaces)}"
        state = (str(status.state), str(local), str(remote), status.reason)
        rows.append((link.source_id, link.target, interfaces, *state))
    text += section("Links", rows, style)
    text += _event_section(events, known, style)
    keys = ("id", "kind", "host_name", "note", "image_ref")
    return text, {
        "running": [dict(zip(keys, each, strict=True)) for each in sorted(running)],
        "links": [_link_data(link, known) for link in links],
        "events": [event_item(event) for event in events],
    }
