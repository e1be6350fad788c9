"""Events of a lattice, one line each: when, on which host, what happened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from trellis_cli.output.document import Column, Listing
from trellis_cli.output.lattice import short_id
from trellis_cli.output.style import PLAIN, Style, clean
from trellis_lattice.control.component import UNBOUNDED
from trellis_lattice.events import LatticeEvent

__all__ = ["about", "clock", "event_item", "event_line", "events", "summary"]

_BAD = ("failed",)


def event_item(event: LatticeEvent) -> dict[str, Any]:
    """An event as data: its kind, and the rest as it was published."""
    return {"type": event.kind, "source": event.source, "time": event.time, "id": event.id, "data": dict(event.data)}


def events(found: Iterable[LatticeEvent], names: Mapping[str, str], lattice: str) -> Listing:
    """Events, oldest first. `names`: friendly names of hosts."""
    ordered = sorted(found, key=lambda event: (event.time, event.id))
    return Listing(
        key="events",
        columns=(Column("time"), Column("host"), Column("event"), Column("what")),
        rows=[
            (clock(event.time), names.get(event.source, short_id(event.source)), event.kind, summary(event))
            for event in ordered
        ],
        items=[event_item(event) for event in ordered],
        names=[event.id for event in ordered],
        empty=f"The hosts of lattice `{lattice}` remember no such event.",
    )


def event_line(event: LatticeEvent, names: Mapping[str, str], style: Style = PLAIN) -> str:
    """One event as a line of a stream."""
    host = clean(names.get(event.source, short_id(event.source)))
    kind = f"{clean(event.kind):<23}"
    painted = style.red(kind) if any(word in event.kind for word in _BAD) else kind
    return f"{style.dim(clock(event.time))}  {host:<22}  {painted}  {clean(summary(event))}".rstrip() + "\n"


def clock(time: str) -> str:
    """`2026-01-31 12:00:00` of an RFC 3339 time, as it is if it is none."""
    try:
        return datetime.fromisoformat(time.replace("Z", "+00:00")).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return clean(time)


def about(event: LatticeEvent) -> set[str]:
    """The ids of components, providers and hosts that an event is about."""
    keys = ("component_id", "provider_id", "source_id", "target", "host_id")
    return {event.source} | {str(event.data[key]) for key in keys if event.data.get(key)}


def summary(event: LatticeEvent) -> str:
    """What happened, in a few words."""
    data = event.data
    match event.kind:
        case "component_scaled":
            count = data.get("max_instances")
            bound = "stopped" if count == 0 else "unbounded" if count == UNBOUNDED else f"max {count}"
            return f"{data.get('component_id')}: {bound}, {data.get('image_ref')}"
        case "component_scale_failed":
            return f"{data.get('component_id')}: {data.get('error')}"
        case "provider_started":
            return f"{data.get('provider_id')}: {data.get('image_ref')}"
        case "provider_start_failed":
            return f"{data.get('provider_id')}: {data.get('error')}"
        case "provider_stopped":
            return f"{data.get('provider_id')}: {data.get('reason')}"
        case "linkdef_set" | "linkdef_deleted" | "linkdef_set_failed":
            error = f": {data['error']}" if data.get("error") else ""
            target = f" → {data['target']}" if data.get("target") else ""
            package = f"{data.get('wit_namespace')}:{data.get('wit_package')}"
            return f"{data.get('source_id')}{target} ({package}, {data.get('name')}){error}"
        case "config_set" | "config_deleted":
            return str(data.get("config_name"))
        case "labels_changed":
            labels = data.get("labels")
            shown = labels if isinstance(labels, Mapping) else {}
            own = {k: v for k, v in shown.items() if not k.startswith(("hostcore.", "host.impl"))}
            return ", ".join(f"{key}={own[key]}" for key in sorted(own)) or "none of its own"
        case "host_started" | "host_stopped" | "host_heartbeat":
            return str(data.get("friendly_name") or "")
        case _:
            return str(data.get("provider_id") or data.get("component_id") or "")
