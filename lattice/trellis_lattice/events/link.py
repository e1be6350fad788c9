"""What happens to links."""

from __future__ import annotations

from typing import ClassVar

from trellis_lattice.events.envelope import Event
from trellis_lattice.links import Link, LinkId
from trellis_lattice.wire import Text

__all__ = ["LinkDeleted", "LinkSet", "LinkSetFailed"]


class LinkSet(Link, Event):
    """The link as it was put."""

    kind: ClassVar[str] = "linkdef_set"


class LinkSetFailed(Link, Event):
    """The link that was refused, and why."""

    kind: ClassVar[str] = "linkdef_set_failed"

    error: Text


class LinkDeleted(LinkId, Event):
    """`target` and `interfaces` only if there really was such a link."""

    kind: ClassVar[str] = "linkdef_deleted"

    target: str | None = None
    interfaces: tuple[str, ...] | None = None
