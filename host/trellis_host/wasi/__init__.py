"""WASI 0.2 for components, deny by default. One file per WASI package."""

from trellis_host.wasi.context import ComponentExited, TaskOwner, WasiContext, WasiSettings
from trellis_host.wasi.http.client import HttpClient, OutgoingClient, Timeouts
from trellis_host.wasi.http.exchange import start_http
from trellis_host.wasi.http.grants import HttpGrants
from trellis_host.wasi.imports import WasiImports, wasi_interfaces
from trellis_host.wasi.logs import LogRecord

__all__ = [
    "ComponentExited",
    "HttpClient",
    "HttpGrants",
    "LogRecord",
    "OutgoingClient",
    "TaskOwner",
    "Timeouts",
    "WasiContext",
    "WasiImports",
    "WasiSettings",
    "start_http",
    "wasi_interfaces",
]
