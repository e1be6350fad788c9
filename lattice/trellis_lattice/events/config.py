"""What happens to named configuration."""

from __future__ import annotations

from typing import ClassVar

from trellis_lattice.events.envelope import Event

__all__ = ["ConfigDeleted", "ConfigSet"]


class ConfigSet(Event):
    kind: ClassVar[str] = "config_set"

    config_name: str


class ConfigDeleted(Event):
    """Also for names that never existed."""

    kind: ClassVar[str] = "config_deleted"

    config_name: str
