"""What runs in a lattice, as listings. JSON keys are those of the control protocol (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trellis_cli.output.document import Column, Listing
from trellis_cli.output.times import age
from trellis_lattice.control.component import UNBOUNDED
from trellis_lattice.control.host import ComponentDescription, HostInfo, HostInventory, ProviderDescription

__all__ = ["components", "hosts", "inventories", "pairs", "providers", "short_id"]

_APP = "wasmcloud.dev/appspec"
_SHOWN_VALUE = 60


def short_id(id: str) -> str:
    """A host id, short enough for a table; it is accepted wherever a host is named."""
    return f"{id[:10]}…" if len(id) > 12 else id


def hosts(infos: Iterable[HostInfo], lattice: str) -> Listing:
    """All hosts, by friendly name."""
    found = sorted(infos, key=lambda host: (host.friendly_name, host.id))
    return Listing(
        key="hosts",
        columns=(
            Column("host id", narrow=True),
            Column("host id", wide=True),
            Column("name"),
            Column("takes work"),
            Column("uptime", right=True),
            Column("version"),
            Column("labels", narrow=True),
            Column("labels", wide=True),
        ),
        rows=[
            (
                short_id(host.id),
                host.id,
                host.friendly_name,
                _standing(host.labels),
                age(host.uptime_seconds),
                host.version or "",
                pairs(_chosen(host.labels)),
                pairs(host.labels),
            )
            for host in found
        ],
        items=[host.model_dump(mode="json", exclude_none=True) for host in found],
        names=[host.id for host in found],
        empty=f"No host answers in lattice `{lattice}`. Start one: trellis up, or trellis host run.",
    )


def _standing(labels: Mapping[str, str]) -> str:
    """Whether a host takes new work, or gives its own away (`trellis cordon`, `trellis drain`)."""
    if labels.get("trellis.dev/draining") == "true":
        return "draining"
    return "cordoned" if labels.get("trellis.dev/cordoned") == "true" else "yes"


def _chosen(labels: Mapping[str, str]) -> dict[str, str]:
    """Without the labels that every host has by itself."""
    return {key: value for key, value in labels.items() if not key.startswith(("hostcore.", "host.impl"))}


def components(inventories: Iterable[HostInventory], lattice: str) -> Listing:
    """Every component on every host that runs it."""
    found = _by_id((host, item) for host in inventories for item in host.components)
    return Listing(
        key="components",
        columns=(
            Column("component"),
            Column("host"),
            Column("max instances", right=True),
            Column("app"),
            Column("image", wide=True),
        ),
        rows=[
            (item.id, host.friendly_name, _bound(item.max_instances), _app(item.annotations), item.image_ref)
            for host, item in found
        ],
        items=[_workload(host, item) for host, item in found],
        names=_names(item.id for _, item in found),
        empty=f"No component runs in lattice `{lattice}`. Deploy an application: trellis app deploy FILE.",
    )


def providers(inventories: Iterable[HostInventory], lattice: str) -> Listing:
    """Every provider on every host that runs it."""
    found = _by_id((host, item) for host in inventories for item in host.providers)
    return Listing(
        key="providers",
        columns=(Column("provider"), Column("host"), Column("app"), Column("image"), Column("problem")),
        rows=[
            (item.id, host.friendly_name, _app(item.annotations), item.image_ref, item.problem or "")
            for host, item in found
        ],
        items=[_workload(host, item) for host, item in found],
        names=_names(item.id for _, item in found),
        empty=f"No provider runs in lattice `{lattice}`. Deploy an application that has one: trellis app deploy FILE.",
    )


def inventories(found: Iterable[HostInventory], lattice: str) -> Listing:
    """Everything that runs: one row for each host, and below it one for each thing on it."""
    ordered = sorted(found, key=lambda host: (host.friendly_name, host.host_id))
    rows: list[tuple[str, ...]] = []
    for host in ordered:
        rows.append((short_id(host.host_id), "host", host.friendly_name, pairs(_chosen(host.labels))))
        rows += [
            (f"  {item.id}", "component", _app(item.annotations), f"max {_bound(item.max_instances)}, {item.image_ref}")
            for item in host.components
        ]
        rows += [(f"  {item.id}", "provider", _app(item.annotations), item.image_ref) for item in host.providers]
    return Listing(
        key="inventories",
        columns=(Column("id"), Column("kind"), Column("name or app"), Column("what")),
        rows=rows,
        items=[host.model_dump(mode="json", exclude_none=True) for host in ordered],
        names=[host.host_id for host in ordered],
        empty=f"No host answers in lattice `{lattice}`. Start one: trellis up, or trellis host run.",
    )


def _by_id(found: Iterable[tuple[HostInventory, Any]]) -> list[tuple[HostInventory, Any]]:
    return sorted(found, key=lambda pair: (pair[1].id, pair[0].friendly_name, pair[0].host_id))


def _workload(host: HostInventory, item: ComponentDescription | ProviderDescription) -> dict[str, Any]:
    described = item.model_dump(mode="json", exclude_none=True)
    return {**described, "host_id": host.host_id, "host_name": host.friendly_name}


def _names(ids: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(ids))


def _app(annotations: Mapping[str, str] | None) -> str:
    return (annotations or {}).get(_APP, "")


def _bound(instances: int) -> str:
    return "unbounded" if instances == UNBOUNDED else str(instances)


def pairs(values: Mapping[str, str]) -> str:
    """`a=1,b=2`, long values cut."""
    return ",".join(f"{key}={_cut(values[key])}" for key in sorted(values))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_VALUE else f"{text[: _SHOWN_VALUE - 1]}…"
