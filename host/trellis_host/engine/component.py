"""A compiled component, and what can be said about bytes before they are compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trellis_host.engine import ffi
from trellis_host.engine.api import ImportResolver
from trellis_host.engine.linked import LinkedComponent, link
from trellis_host.engine.reflect import reflect
from trellis_lattice.errors import RequestInvalid
from trellis_lattice.wit.types import InterfaceType

if TYPE_CHECKING:
    from trellis_host.engine.engine import Engine

__all__ = ["Component", "check_header"]

_MAGIC = b"\0asm"
_COMPONENT = b"\x0d\0\x01\0"
_CORE_MODULE = b"\x01\0\0\0"
_LOOKS_LIKE: Mapping[bytes, str] = {
    b"\x7fELF": "a native program or compiled code (ELF)",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"{": "JSON",
    b"<": "HTML or XML, such as the error page of a web server",
    b"(component": "component text (WAT); assemble it first",
    b"(module": "module text (WAT)",
}


def check_header(wasm: bytes) -> None:
    """Raises `RequestInvalid` saying what the bytes look like, when they do not begin like a component."""
    build = "Give the .wasm file of a component built for WASI 0.2."
    if not wasm:
        raise RequestInvalid("The component is empty: 0 bytes.", remedy=build)
    if wasm[:4] == _MAGIC and len(wasm) < 8:
        raise RequestInvalid(f"The component is truncated: it ends after {len(wasm)} bytes.", remedy=build)
    if wasm[:8] == _MAGIC + _CORE_MODULE:
        raise RequestInvalid(
            "This is a core WebAssembly module, not a component.",
            remedy="Make a component of it, e.g. with `wasm-tools component new`, or build for wasm32-wasip2.",
        )
    if wasm[:4] != _MAGIC:
        text = wasm[:64].lstrip()
        looks = next((what for start, what in _LOOKS_LIKE.items() if text.startswith(start)), None)
        what = f"It looks like {looks}." if looks else f"It begins with {wasm[:8].hex(' ')}."
        raise RequestInvalid(f"This is not a WebAssembly component. {what}", remedy=build)
    if wasm[4:8] != _COMPONENT:
        raise RequestInvalid(
            f"This is WebAssembly of an unknown layer or version ({wasm[4:8].hex(' ')}).", remedy=build
        )


class Component:
    """A component ready to be linked. `digest`: SHA-256 of its bytes, in hex. `size`: their number.

    `imports` and `exports`: interfaces by full name with version; "" holds functions of the root.
    """

    def __init__(self, engine: Engine, compiled: ffi.WasmtimeComponent, digest: str, size: int, pooled: bool) -> None:
        self.engine = engine
        self.digest = digest
        self.size = size
        self.pooled = pooled
        """Whether its sandboxes come from the pool; a component too large for it gets memory on demand."""
        self.address = ffi.pointer(compiled)
        self._compiled = compiled
        self._types = reflect(compiled, engine.wasmtime_engine(pooled))
        self._interfaces: dict[str, Any] = {}

    @property
    def imports(self) -> Mapping[str, InterfaceType]:
        return self._types.imports

    @property
    def exports(self) -> Mapping[str, InterfaceType]:
        return self._types.exports

    def link(self, resolve: ImportResolver, *, name: str | None = None) -> LinkedComponent:
        """Binds the imports. `name` is how errors call the component. Raises `NotFound` listing all that miss."""
        return link(self, self._types, resolve, name or self.digest[:12])

    def export_index(self, interface: str, function: str) -> Any:
        """wasmtime's handle of an export that is known to exist."""
        if not interface:
            return self._compiled.get_export_index(function)
        instance = self._interfaces.get(interface)
        if instance is None:
            instance = self._interfaces[interface] = self._compiled.get_export_index(interface)
        return self._compiled.get_export_index(function, instance)
