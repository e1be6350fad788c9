"""The version under which WASI 0.2 is offered; it answers every `0.2.x`."""

from __future__ import annotations

from trellis_lattice.names import InterfaceName

__all__ = ["WASI_VERSION", "named"]

WASI_VERSION = "0.2.12"


def named(package: str, interface: str, version: str = WASI_VERSION) -> InterfaceName:
    """`wasi:package/interface@version`."""
    return InterfaceName("wasi", package, interface, version)
