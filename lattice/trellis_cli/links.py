"""How a link is: in force, refused, or waiting for something; from what the hosts say. Pure.

A provider takes or refuses a link; components take what the lattice's state says. A link whose source or target does
not run waits for it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trellis_lattice.control.host import HostInventory, LinkReport
    from trellis_lattice.links import Link

__all__ = ["LinkState", "LinkStatus", "link_status"]

_IMPL = "host.impl"


class LinkState(enum.StrEnum):
    """Whether calls go over a link."""

    ACTIVE = "active"
    PENDING = "pending"
    """Not every provider at its ends has said yet what it makes of it."""
    WAITING = "waiting"
    """One of its ends does not run."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """`reason` is empty for a link that is active."""

    state: LinkState
    reason: str = ""


def link_status(link: Link, inventories: Sequence[HostInventory]) -> LinkStatus:
    """What the hosts make of a link that is stored."""
    reports = [(host, each) for host in inventories for each in host.links if _about(each, link)]
    refused = [(host, each) for host, each in reports if each.problem is not None]
    if refused:
        hosts = ", ".join(sorted(host.friendly_name for host, _ in refused))
        _, report = refused[0]
        return LinkStatus(LinkState.REFUSED, f"{report.provider_id} on {hosts}: {report.problem}")
    answered = {(host.host_id, each.provider_id) for host, each in reports}
    silent = [
        f"{end} on {host.friendly_name}"
        for host, end in _providers(link, inventories)
        if (host.host_id, end) not in answered
    ]
    if silent:
        return LinkStatus(LinkState.PENDING, f"{', '.join(sorted(silent))} has not taken it yet")
    missing = [end for end in (link.source_id, link.target) if not _runs(end, inventories)]
    if missing:
        does = "does" if len(missing) == 1 else "do"
        return LinkStatus(LinkState.WAITING, f"{' and '.join(missing)} {does} not run")
    return LinkStatus(LinkState.ACTIVE)


def _about(report: LinkReport, link: Link) -> bool:
    key = (report.source_id, report.target, report.wit_namespace, report.wit_package, report.name)
    return key == link.key


def _providers(link: Link, inventories: Iterable[HostInventory]) -> list[tuple[HostInventory, str]]:
    """The providers at its ends, on hosts that tell what they make of it: v1 hosts do not."""
    return [
        (host, item.id)
        for host in inventories
        if host.labels.get(_IMPL) == "trellis"
        for item in host.providers
        if item.id in (link.source_id, link.target)
    ]


def _runs(id: str, inventories: Iterable[HostInventory]) -> bool:
    return any(
        id in {item.id for item in host.components} or id in {item.id for item in host.providers}
        for host in inventories
    )
