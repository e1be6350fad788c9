"""The live block of `trellis up`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align

__all__ = ["HostLine", "Overview", "overview_text"]


class HostLine(Protocol):
    """What is shown of one host."""

    @property
    def name(self) -> str: ...
    @property
    def phase(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def friendly_name(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def restarts(self) -> int: ...
    @property
    def detail(self) -> str: ...


@dataclass(slots=True)
class Overview:
    """Everything the block shows. `nats` is (url, phase); `facts` are lines with a title."""

    lattice: str
    nats: tuple[str, str] = ("", "starting")
    hosts: dict[str, HostLine] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    hint: str = "Starting. Ctrl-C stops."

    @property
    def height(self) -> int:
        """Lines of the table above the hint."""
        return 2 + len(self.hosts) + len(self.facts)


def overview_text(overview: Overview, style: Style = PLAIN) -> str:
    """The block, without a line break at its end."""
    url, phase = overview.nats
    rows = [["lattice", overview.lattice, "", ""], ["nats", phase, url, ""], *_hosts(overview.hosts.values())]
    rows += [[title, "", text, ""] for title, text in overview.facts.items()]

    def paint(_: int, column: int, text: str) -> str:
        return style.bold(text) if column == 0 else style.state(text) if column == 1 else text

    hint = "\n".join(clean(line) for line in overview.hint.splitlines())
    return f"{align(rows, paint=paint)}{style.dim(hint)}"


def _hosts(hosts: Iterable[HostLine]) -> list[list[str]]:
    rows = []
    for host in hosts:
        named = f"{host.friendly_name} {host.id[:10]}…" if host.id else host.detail
        notes = [f"process {host.pid}"] if host.pid else []
        notes += [f"restarts: {host.restarts}"] if host.restarts else []
        rows.append([host.name, host.phase, named, ", ".join(notes)])
    return rows
