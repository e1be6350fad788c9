"""The host's answers to control operations, one file per noun."""

from __future__ import annotations

from trellis_host.control import claims, component, config, host, label, link, provider, registry
from trellis_host.control.context import ControlContext
from trellis_lattice.control.server import ControlServer

__all__ = ["ControlContext", "register_all"]


def register_all(server: ControlServer, context: ControlContext) -> None:
    """Says who handles each operation."""
    for noun in (claims, component, config, host, label, link, provider, registry):
        noun.register(server, context)
