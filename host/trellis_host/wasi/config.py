"""`wasi:config`: `store` and its older name `runtime`, answered from the component's configuration."""

from __future__ import annotations

from trellis_host.engine.api import HostFunction, HostInterface
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.version import named
from trellis_lattice.wit.values import Ok

__all__ = ["CONFIG"]


def _get(context: WasiContext, key: str) -> Ok[str | None]:
    return Ok(context.settings.config.get(key))


def _get_all(context: WasiContext) -> Ok[list[tuple[str, str]]]:
    return Ok(list(context.settings.config.items()))


_FUNCTIONS = {"get": HostFunction(_get), "get-all": HostFunction(_get_all)}

CONFIG: tuple[HostInterface, ...] = (
    HostInterface(named("config", "store", "0.2.0-rc.1"), _FUNCTIONS),
    HostInterface(named("config", "runtime", "0.2.0-draft"), _FUNCTIONS),
)
