"""What the hosts of a lattice share, as listings: links, configuration, secrets, claims."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from trellis_cli.configs import shown_reference
from trellis_cli.links import link_status
from trellis_cli.output.document import Column, Format, Listing
from trellis_cli.output.lattice import pairs
from trellis_cli.output.table import align
from trellis_lattice.control.host import HostInventory
from trellis_lattice.links import Link

__all__ = ["claims", "config_document", "configs", "links", "secrets"]


def links(found: Iterable[Link], hosts: Sequence[HostInventory], lattice: str) -> Listing:
    """Every link, by source: how it is, and which way the calls of its source to its target went."""
    ordered = sorted(found, key=lambda link: link.key)
    local: Counter[tuple[str, str]] = Counter()
    remote: Counter[tuple[str, str]] = Counter()
    for count in (count for host in hosts for count in host.calls or ()):
        local[count.source, count.target] += count.local
        remote[count.source, count.target] += count.lattice
    statuses = [link_status(link, hosts) for link in ordered]
    return Listing(
        key="links",
        columns=(
            Column("source"),
            Column("target"),
            Column("interfaces"),
            Column("name"),
            Column("state", state=True),
            Column("local calls", right=True),
            Column("lattice calls", right=True),
            Column("source config", wide=True),
            Column("target config", wide=True),
            Column("reason", wide=True),
        ),
        rows=[
            (
                link.source_id,
                link.target,
                f"{link.wit_namespace}:{link.wit_package}/{','.join(link.interfaces)}",
                link.name,
                str(status.state),
                str(local[link.source_id, link.target]),
                str(remote[link.source_id, link.target]),
                ",".join(link.source_config),
                ",".join(link.target_config),
                status.reason,
            )
            for link, status in zip(ordered, statuses, strict=True)
        ],
        items=[
            {
                **link.model_dump(mode="json"),
                "state": str(status.state),
                "reason": status.reason or None,
                "local_calls": local[link.source_id, link.target],
                "lattice_calls": remote[link.source_id, link.target],
            }
            for link, status in zip(ordered, statuses, strict=True)
        ],
        names=[f"{link.source_id}/{link.name}/{link.wit_namespace}:{link.wit_package}" for link in ordered],
        empty=f"There is no link in lattice `{lattice}`.",
    )


def configs(found: Mapping[str, Mapping[str, str]], lattice: str) -> Listing:
    """Every named configuration."""
    ordered = sorted(found)
    return Listing(
        key="config",
        columns=(Column("config"), Column("values")),
        rows=[(name, pairs(found[name])) for name in ordered],
        items=[{"name": name, "values": dict(found[name])} for name in ordered],
        names=ordered,
        empty=f"There is no configuration in lattice `{lattice}`.",
    )


def secrets(found: Mapping[str, Mapping[str, str]], lattice: str) -> Listing:
    """Every reference to a secret, by the name a component asks for. Values are elsewhere."""
    shown = {name.removeprefix("SECRET_"): shown_reference(found[name]) for name in sorted(found)}
    return Listing(
        key="secrets",
        columns=(
            Column("secret"),
            Column("backend"),
            Column("key"),
            Column("field"),
            Column("version"),
            Column("properties", wide=True),
        ),
        rows=[
            (name, *(each.get(key, "") for key in ("backend", "key", "field", "version", "properties")))
            for name, each in shown.items()
        ],
        items=[{**dict(found[name]), "name": name.removeprefix("SECRET_"), "config": name} for name in sorted(found)],
        names=list(shown),
        empty=f"There is no secret in lattice `{lattice}`.",
    )


def claims(found: Sequence[Mapping[str, str]], lattice: str) -> Listing:
    """Claims of signed components and providers."""
    ordered = sorted(found, key=lambda each: (each.get("name", ""), each.get("sub", "")))
    return Listing(
        key="claims",
        columns=(
            Column("name"),
            Column("subject"),
            Column("issuer"),
            Column("version"),
            Column("revision"),
            Column("call alias", wide=True),
            Column("tags", wide=True),
        ),
        rows=[
            (
                each.get("name", ""),
                each.get("sub", each.get("subject", "")),
                each.get("iss", each.get("issuer", "")),
                each.get("version", ""),
                each.get("rev", each.get("revision", "")),
                each.get("call_alias", ""),
                each.get("tags", ""),
            )
            for each in ordered
        ],
        items=ordered,
        names=[each.get("sub", each.get("subject", "")) for each in ordered],
        empty=f"Nothing in lattice `{lattice}` is signed.",
    )


def config_document(values: Mapping[str, str], format: Format) -> str:
    """One configuration as v1 prints it: for programs the bare object, for people a line for each value."""
    match format:
        case Format.TABLE | Format.WIDE:
            return align([(key, values[key]) for key in sorted(values)]) if values else ""
        case Format.NAME:
            return "".join(f"{key}\n" for key in sorted(values))
        case Format.YAML:
            import yaml

            text: str = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
            return text
        case Format.JSON | Format.JSONL:
            return json.dumps(dict(values), indent=2 if format is Format.JSON else None, ensure_ascii=False) + "\n"
