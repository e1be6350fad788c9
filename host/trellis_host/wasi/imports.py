"""Which WASI interface answers an import."""

from __future__ import annotations

from collections.abc import Mapping

from trellis_host.engine.api import HostInterface
from trellis_host.wasi.cli import CLI
from trellis_host.wasi.clocks import CLOCKS
from trellis_host.wasi.config import CONFIG
from trellis_host.wasi.filesystem import FILESYSTEM
from trellis_host.wasi.http.types import HTTP
from trellis_host.wasi.io import IO
from trellis_host.wasi.logging import LOGGING
from trellis_host.wasi.random import RANDOM
from trellis_host.wasi.sockets import SOCKETS
from trellis_lattice.names import InterfaceName, track
from trellis_lattice.wit.types import InterfaceType

__all__ = ["WasiImports", "wasi_interfaces"]

_INTERFACES = (*IO, *CLOCKS, *RANDOM, *CLI, *HTTP, *FILESYSTEM, *SOCKETS, *LOGGING, *CONFIG)

_TRACKS: Mapping[str, frozenset[str]] = {
    "wasi:logging/logging": frozenset(("0.1", "0.1.0-draft")),
    "wasi:config/store": frozenset(("0.2", "0.2.0-draft", "0.2.0-rc.1")),
    "wasi:config/runtime": frozenset(("0.2", "0.2.0-draft")),
}
"""Tracks other than 0.2. A pre-release is a track of its own, so each that is accepted is listed."""
_WASI_0_2 = frozenset(("0.2",))


def wasi_interfaces() -> tuple[HostInterface, ...]:
    """All interfaces of WASI 0.2 that a host offers to every component."""
    return _INTERFACES


class WasiImports:
    """Answers imports of WASI: any `0.2.x`, and the listed pre-releases."""

    def __init__(self) -> None:
        self._interfaces = {interface.name.unversioned: interface for interface in _INTERFACES}

    def resolve(self, wanted: InterfaceName, type: InterfaceType) -> HostInterface | None:
        """The implementation for `wanted`; None if it is not WASI or of a version that is not offered."""
        interface = self._interfaces.get(wanted.unversioned)
        if interface is None:
            return None
        tracks = _TRACKS.get(wanted.unversioned, _WASI_0_2)
        return interface if wanted.version is None or track(wanted.version) in tracks else None

    __call__ = resolve
