"""Reads what a core WebAssembly module imports and exports; nothing else of it.

Source: the binary format of the WebAssembly core specification, chapter 5.5 (modules).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CoreModule", "read_core_module"]

_MAGIC = b"\0asm\x01\0\0\0"
_IMPORTS, _EXPORTS = 2, 7
_FUNCTION, _TABLE, _MEMORY, _GLOBAL = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class CoreModule:
    """The functions a module imports (module, name) and exports (name), and the pages of the memory it imports."""

    imports: tuple[tuple[str, str], ...]
    exports: tuple[str, ...]
    memory_pages: int | None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def take(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length : self.at]

    def name(self) -> str:
        return self.take(self.number()).decode()

    def limits(self) -> int:
        """The minimum of a limits entry."""
        has_maximum = self.byte() & 1
        minimum = self.number()
        if has_maximum:
            self.number()
        return minimum


def read_core_module(wasm: bytes) -> CoreModule:
    """Describe `wasm`. Raises ValueError where it is not a core module."""
    if not wasm.startswith(_MAGIC):
        raise ValueError("not a core WebAssembly module (wrong magic number or version)")
    reader = _Reader(wasm)
    reader.at = len(_MAGIC)
    imports: list[tuple[str, str]] = []
    exports: list[str] = []
    memory: int | None = None
    while reader.at < len(wasm):
        section, length = reader.byte(), reader.number()
        content = _Reader(reader.take(length))
        if section == _IMPORTS:
            for _ in range(content.number()):
                module, name, kind = content.name(), content.name(), content.byte()
                if kind == _FUNCTION:
                    content.number()
                    imports.append((module, name))
                elif kind == _MEMORY:
                    memory = content.limits()
                else:
                    raise ValueError(f"import {module!r} {name!r} is neither a function nor a memory")
        elif section == _EXPORTS:
            for _ in range(content.number()):
                name, kind, _index = content.name(), content.byte(), content.number()
                if kind == _FUNCTION:
                    exports.append(name)
    return CoreModule(tuple(imports), tuple(exports), memory)
