"""Makes a component of a core WebAssembly module, with pip packages alone: no wasm-tools, no Node.

A core module that follows the canonical ABI imports functions as ("wasi:http/types@0.2.2", "[method]fields.append")
and exports them as "wasi:http/incoming-handler@0.2.2#handle". What it lacks is the frame that declares the types.
This file writes that frame as component text, assembles it with wasmtime, and puts the core module in its place.

The frame owns the memory: the core module imports it as ("env", "memory") (`-Wl,--import-memory` for C), and may
import ("env", "realloc") and ("env", "reset") of a bump allocator that starts behind the module's own data.

    python -m tools.wrap core.wasm component.wasm
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from wasmtime import wat2wasm

from tools.core_module import CoreModule, read_core_module
from tools.interfaces import RESOURCE, WASI, Interface

__all__ = ["wrap"]

_PLACEHOLDER = "(core module $main)"
_PLACEHOLDER_BYTES = b"\x01\x16\0asm\x01\0\0\0\0\x0c\x04name\0\x05\x04main"
_NAME = re.compile(r"\$([\w-]+)")
_DROP = "[resource-drop]"
_HEAP = """(core module $heap
  (memory (export "memory") {pages})
  (global $top (mut i32) (i32.const {base}))
  (func (export "reset") (global.set $top (i32.const {base})))
  (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32) (local $end i32)
    (local.set $start (i32.and (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $start) (local.get $size)))
    (if (i32.lt_u (local.get $end) (local.get $start)) (then unreachable))
    (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536))) (then
      (if (i32.eq (memory.grow (i32.add (i32.const 1) (i32.div_u (i32.sub (local.get $end)
        (i32.mul (memory.size) (i32.const 65536))) (i32.const 65536)))) (i32.const -1)) (then unreachable))))
    (memory.copy (local.get $start) (local.get $old) (local.get $old-size))
    (global.set $top (local.get $end))
    (local.get $start)))
(core instance $heap (instantiate $heap))
(alias core export $heap "memory" (core memory $memory))
(alias core export $heap "realloc" (core func $realloc))
(alias core export $heap "reset" (core func $reset))"""


def wrap(core: bytes, interfaces: Mapping[str, Interface] | None = None) -> bytes:
    """The component around the core module `core`.

    `interfaces`: what it imports and exports besides WASI, by full name ("" for functions of the root).
    Raises ValueError where the module uses an interface or function that is not declared.
    """
    known = {**WASI, **(interfaces or {})}
    module = read_core_module(core)
    text = "\n".join(_frame(module, known))
    frame = wat2wasm(f"(component {text})")
    head, found, tail = frame.partition(_PLACEHOLDER_BYTES)
    if not found:
        raise ValueError("this wasmtime encodes an empty module differently; update _PLACEHOLDER_BYTES")
    return bytes(head) + b"\x01" + _number(len(core)) + core + bytes(tail)


def _number(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _frame(module: CoreModule, known: Mapping[str, Interface]) -> Iterator[str]:
    imported = [(interface, name) for interface, name in module.imports if interface != "env"]
    exported = [_split(name) for name in module.exports if not name.startswith("cabi_post_") and name[0] != "_"]
    wanted = _wanted_types(imported, exported, known)
    for name in _in_order(wanted, known):
        yield from _import(known[name], [f for i, f in imported if i == name], wanted[name])
    pages = module.memory_pages or 1
    yield _HEAP.format(pages=pages + 1, base=pages * 65536)
    for index, (interface, function) in enumerate(imported):
        yield _lower(index, interface, function)
    yield _PLACEHOLDER
    yield _instance(imported)
    for interface in dict.fromkeys(interface for interface, _ in exported):
        functions = [function for i, function in exported if i == interface]
        yield from _export(known[interface], functions, module)


def _split(export: str) -> tuple[str, str]:
    interface, separator, function = export.rpartition("#")
    return (interface, function) if separator else ("", export)


def _declared(known: Mapping[str, Interface], interface: str, function: str) -> str:
    try:
        return known[interface].functions[function]
    except KeyError:
        raise ValueError(f"{interface or 'the root'} declares no function {function!r}") from None


def _wanted_types(
    imported: Iterable[tuple[str, str]], exported: Iterable[tuple[str, str]], known: Mapping[str, Interface]
) -> dict[str, set[str]]:
    """Imported interface → names of its types that something needs, directly or through other types."""
    wanted: dict[str, set[str]] = {}
    todo: list[tuple[str, str]] = []
    for interface, function in imported:
        wanted.setdefault(interface, set())
        if function.startswith(_DROP):
            todo.append((interface, function.removeprefix(_DROP)))
        else:
            todo += [(interface, name) for name in _NAME.findall(_declared(known, interface, function))]
    for interface, function in exported:
        names = _names(_NAME.findall(_declared(known, interface, function)), known[interface])
        todo += [known[interface].uses[name] for name in names if name in known[interface].uses]
    while todo:
        interface, name = todo.pop()
        if name in wanted.setdefault(interface, set()):
            continue
        wanted[interface].add(name)
        if name in known[interface].uses:
            todo.append(known[interface].uses[name])
        else:
            todo += [(interface, part) for part in _NAME.findall(known[interface].types[name])]
    return wanted


def _names(names: Iterable[str], interface: Interface) -> list[str]:
    """The names and all they are made of, parts first."""
    done: dict[str, None] = {}
    for name in names:
        if name not in done:
            parts = _NAME.findall(interface.types.get(name, ""))
            done.update(dict.fromkeys([*_names(parts, interface), name]))
    return list(done)


def _in_order(wanted: Mapping[str, set[str]], known: Mapping[str, Interface]) -> list[str]:
    """The interfaces, each behind those whose types it uses."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        for used in sorted(wanted[name] & known[name].uses.keys()):
            visit(known[name].uses[used][0])
        done[name] = None

    for name in wanted:
        visit(name)
    return list(done)


def _import(interface: Interface, functions: list[str], types: set[str]) -> Iterator[str]:
    yield f'(import "{interface.name}" (instance ${interface.name}'
    for name, (owner, original) in interface.uses.items():
        if name in types:
            yield f"(alias outer 1 ${owner}.{original} (type ${name}'))"
            yield f'(export "{name}" (type ${name} (eq ${name}\')))'
    for name, definition in interface.types.items():
        if name in types:
            yield _named_type(name, definition)
    for function in functions:
        if not function.startswith(_DROP):
            yield f'(export "{function}" (func {interface.functions[function]}))'
    yield "))"
    for name in sorted(types):
        yield f'(alias export ${interface.name} "{name}" (type ${interface.name}.{name}))'


def _named_type(name: str, definition: str) -> str:
    if definition == RESOURCE:
        return f'(export "{name}" (type ${name} (sub resource)))'
    if definition.startswith("$"):
        return f'(export "{name}" (type ${name} (eq {definition})))'
    return f"(type ${name}' {definition}) (export \"{name}\" (type ${name} (eq ${name}')))"


def _lower(index: int, interface: str, function: str) -> str:
    if function.startswith(_DROP):
        return f"(core func $f{index} (canon resource.drop ${interface}.{function.removeprefix(_DROP)}))"
    return (
        f'(core func $f{index} (canon lower (func ${interface} "{function}")'
        " (memory $memory) (realloc (core func $realloc))))"
    )


def _instance(imported: list[tuple[str, str]]) -> str:
    env = '(export "memory" (memory $memory)) (export "realloc" (func $realloc)) (export "reset" (func $reset))'
    parts = [f'(with "env" (instance {env}))']
    for interface in dict.fromkeys(interface for interface, _ in imported):
        functions = [
            f'(export "{name}" (func $f{index}))' for index, (i, name) in enumerate(imported) if i == interface
        ]
        parts.append(f'(with "{interface}" (instance {" ".join(functions)}))')
    return f"(core instance $main (instantiate $main {' '.join(parts)}))"


def _export(interface: Interface, functions: list[str], module: CoreModule) -> Iterator[str]:
    """Lift the functions and export them under the interface's name.

    Named types of an exported interface are given their names by a small component in between: the component
    model has functions refer to types by their exported names.
    """
    prefix = f"{interface.name}#" if interface.name else ""
    own = [name for name in _names(interface.types, interface) if name in interface.types]
    for name in own:
        yield f"(type $export.{interface.name}.{name} {_qualified(interface.types[name], interface)})"
    for function in functions:
        post = f"cabi_post_{prefix}{function}"
        after = f'(post-return (core func $main "{post}"))' if post in module.exports else ""
        yield (
            f"(func $export.{prefix}{function} {_qualified(interface.functions[function], interface)}"
            f' (canon lift (core func $main "{prefix}{function}")'
            f" (memory $memory) (realloc (core func $realloc)) {after}))"
        )
    if not interface.name:
        yield from (f'(export "{function}" (func $export.{function}))' for function in functions)
    elif not own:
        exports = " ".join(f'(export "{name}" (func $export.{prefix}{name}))' for name in functions)
        yield f'(instance (export "{interface.name}") {exports})'
    else:
        yield from _export_with_types(interface, functions, own)


def _qualified(text: str, interface: Interface) -> str:
    """The definition with `$x` spelled as the type's name in the whole component."""

    def spell(match: re.Match[str]) -> str:
        name = match[1]
        if name in interface.uses:
            owner, original = interface.uses[name]
            return f"${owner}.{original}"
        return f"$export.{interface.name}.{name}"

    return _NAME.sub(spell, text)


def _export_with_types(interface: Interface, functions: list[str], types: list[str]) -> Iterator[str]:
    if interface.uses:
        raise ValueError(f"{interface.name}: an exported interface has types of its own or of others, not both")
    prefix = f"{interface.name}#"
    yield f"(component $names.{interface.name}"
    for name in types:
        yield f"(type ${name}' {interface.types[name]}) (import \"type-{name}\" (type ${name} (eq ${name}')))"
    for name in functions:
        yield f'(import "function-{name}" (func $function.{name} {interface.functions[name]}))'
    exported = {name: f"$exported.{name}" for name in types}

    def spell(text: str) -> str:
        return _NAME.sub(lambda match: exported.get(match[1], match[0]), text)

    for name in types:
        definition = spell(interface.types[name])
        yield f"(type {exported[name]}' {definition}) (export {exported[name]} \"{name}\" (type {exported[name]}'))"
    for name in functions:
        yield f'(export "{name}" (func $function.{name}) (func {spell(interface.functions[name])}))'
    yield ")"
    given = [f'(with "type-{name}" (type $export.{interface.name}.{name}))' for name in types]
    given += [f'(with "function-{name}" (func $export.{prefix}{name}))' for name in functions]
    yield f"(instance $named.{interface.name} (instantiate $names.{interface.name} {' '.join(given)}))"
    yield f'(export "{interface.name}" (instance $named.{interface.name}))'


def main(arguments: list[str]) -> int:
    """`python -m tools.wrap CORE OUT`"""
    if len(arguments) != 2:
        print("usage: python -m tools.wrap CORE.wasm COMPONENT.wasm", file=sys.stderr)
        return 2
    Path(arguments[1]).write_bytes(wrap(Path(arguments[0]).read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
