"""Contexts and effective settings, as documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trellis_cli.output.document import Column, Listing, Report
from trellis_cli.output.table import align
from trellis_cli.targets import FIELDS, SECRETS, Value

__all__ = ["ContextLine", "contexts_document", "effective_document"]


@dataclass(frozen=True, slots=True)
class ContextLine:
    """One context; `values` by the names in `targets.FIELDS`."""

    title: str
    kind: str
    selected: bool
    values: Mapping[str, str]


def contexts_document(lines: Sequence[ContextLine]) -> Listing:
    """All contexts; secrets are left out."""
    rows, items = [], []
    for line in lines:
        shown = {name: shown_value(name, value) for name, value in line.values.items()}
        mark = "*" if line.selected else ""
        rows.append([mark, line.title, shown.get("nats_url", ""), shown.get("lattice", ""), line.kind])
        items.append({"name": line.title, "kind": line.kind, "selected": line.selected, "values": shown})
    columns = [Column(""), Column("Name"), Column("NATS"), Column("Lattice"), Column("Of")]
    names = [line.title for line in lines]
    return Listing("contexts", columns, rows, items, names, empty="There is no context. Make one: trellis ctx new NAME")


def effective_document(selected: str | None, values: Mapping[str, Value], timeout: Value) -> Report:
    """What is in effect, and where each comes from."""
    known = {name: values[name] for name in FIELDS if name in values}
    shown = {name: (shown_value(name, value.value), value.origin) for name, value in known.items()}
    shown["timeout"] = (timeout.value, timeout.origin)
    rows = [[name, value, origin] for name, (value, origin) in shown.items()]
    data = {
        "context": selected,
        "values": {name: {"value": value, "origin": origin} for name, (value, origin) in shown.items()},
    }
    return Report(data, text=align([["SETTING", "VALUE", "FROM"], *rows]), names=list(shown))


def shown_value(name: str, value: str) -> str:
    """A secret is not shown; neither is one in a url."""
    if name in SECRETS:
        return "(hidden)"
    return ",".join(map(_without_user, value.split(","))) if name == "nats_url" else value


def _without_user(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, where = rest.rpartition("@")
    return f"{scheme}{separator}(hidden)@{where}" if at and user else url
