"""`wasi:filesystem`: present, so that components which only might use files run; there are none.

No directory is preopened, so no descriptor exists and no method of one can be called; all are declared because
a component may import any of them.
"""

from __future__ import annotations

from typing import Any

from trellis_host.engine.api import HostFunction, HostInterface, HostResource
from trellis_host.wasi.context import WasiContext
from trellis_host.wasi.io import ERROR, INPUT_STREAM, OUTPUT_STREAM
from trellis_host.wasi.version import named
from trellis_lattice.wit.values import Err

__all__ = ["FILESYSTEM"]

_DESCRIPTOR = HostResource("descriptor")
_ENTRIES = HostResource("directory-entry-stream")
_ACCESS: Err[Any] = Err("access")

_DESCRIPTOR_METHODS = (
    "advise",
    "append-via-stream",
    "create-directory-at",
    "get-flags",
    "get-type",
    "link-at",
    "metadata-hash",
    "metadata-hash-at",
    "open-at",
    "read",
    "read-directory",
    "read-via-stream",
    "readlink-at",
    "remove-directory-at",
    "rename-at",
    "set-size",
    "set-times",
    "set-times-at",
    "stat",
    "stat-at",
    "symlink-at",
    "sync",
    "sync-data",
    "unlink-file-at",
    "write",
    "write-via-stream",
)


def _denied(context: WasiContext, *arguments: Any) -> Err[Any]:
    return _ACCESS


def _same_object(context: WasiContext, one: object, other: object) -> bool:
    return one is other


def _error_code(context: WasiContext, error: object) -> None:
    """No stream here belongs to a file."""
    return None


def _directories(context: WasiContext) -> list[Any]:
    return []


_FUNCTIONS: dict[str, HostFunction] = {
    **{f"[method]descriptor.{name}": HostFunction(_denied) for name in _DESCRIPTOR_METHODS},
    "[method]descriptor.is-same-object": HostFunction(_same_object),
    "[method]directory-entry-stream.read-directory-entry": HostFunction(_denied),
    "filesystem-error-code": HostFunction(_error_code),
}

FILESYSTEM: tuple[HostInterface, ...] = (
    HostInterface(
        named("filesystem", "types"),
        _FUNCTIONS,
        {
            "descriptor": _DESCRIPTOR,
            "directory-entry-stream": _ENTRIES,
            "input-stream": INPUT_STREAM,
            "output-stream": OUTPUT_STREAM,
            "error": ERROR,
        },
    ),
    HostInterface(
        named("filesystem", "preopens"), {"get-directories": HostFunction(_directories)}, {"descriptor": _DESCRIPTOR}
    ),
)
