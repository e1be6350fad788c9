"""`wasi:logging/logging`: the component's records, within the invocation's budget."""

from __future__ import annotations

from trellis_host.engine.api import HostFunction, HostInterface
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.version import named

__all__ = ["LOGGING"]


def _log(context: WasiContext, level: str, source: str, message: str) -> None:
    context.log.emit(level, source, message)


LOGGING: tuple[HostInterface, ...] = (
    HostInterface(named("logging", "logging", "0.1.0-draft"), {"log": HostFunction(_log)}),
)
