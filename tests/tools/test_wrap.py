"""The component frame around core modules, checked by the engine that has to run them."""

import asyncio
from pathlib import Path

import pytest
from wasmtime import Engine, Store, WasmtimeError, wat2wasm
from wasmtime.component import Component, Linker, Record

from tests.fixtures import build, components
from tools.core_module import read_core_module
from tools.interfaces import Interface
from tools.wrap import wrap


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def call(engine: Engine, wasm: bytes, interface: str, function: str, *args: object) -> object:
    component = Component(engine, wasm)
    store = Store(engine)
    instance = Linker(engine).instantiate(store, component)
    index = component.get_export_index(function, component.get_export_index(interface) if interface else None)
    assert index is not None
    found = instance.get_func(store, index)
    assert found is not None
    return found(store, *args)


@pytest.mark.parametrize(
    ("make", "imports", "exports"),
    [
        (
            components.http_hello_wat,
            {"wasi:io/error@0.2.2", "wasi:io/streams@0.2.2", "wasi:http/types@0.2.2"},
            {"wasi:http/incoming-handler@0.2.2"},
        ),
        (
            components.http_hello_c,
            {"wasi:io/error@0.2.2", "wasi:io/streams@0.2.2", "wasi:http/types@0.2.2"},
            {"wasi:http/incoming-handler@0.2.2"},
        ),
        (components.greeter, set(), {"demo:greet/greeter"}),
        (components.add, set(), {"add"}),
        (components.echo, set(), {"test:echo/echo@0.1.0"}),
        (components.caller, {"test:echo/echo@0.1.0"}, {"test:caller/caller@0.1.0"}),
        (components.orphan, {"nobody:provides/this@0.1.0"}, {"test:caller/caller@0.1.0"}),
        (components.waiter, {"test:waiter/provider@0.1.0"}, {"test:waiter/waiter@0.1.0"}),
        (components.config, {"wasi:config/store@0.2.0-rc.1"}, {"test:config/config@0.1.0"}),
    ],
)
def test_a_component_names_its_imports_and_exports(engine, make, imports, exports):
    component = Component(engine, make())
    assert set(component.type.imports(engine)) == imports
    assert set(component.type.exports(engine)) == exports


def test_strings_and_lists_pass_both_ways(engine):
    assert call(engine, components.greeter(), "demo:greet/greeter", "greet", "Ada") == "Hello, Ada!"
    assert call(engine, components.greeter(), "demo:greet/greeter", "sum", [1, 2, 3]) == 6
    assert call(engine, components.add(), "", "add", 2, 40) == 42


def test_the_heap_grows_for_arguments_larger_than_its_first_page(engine):
    text = "ü" * 300_000
    assert call(engine, components.echo(), "test:echo/echo@0.1.0", "text", text) == text


def test_named_types_of_an_exported_interface_keep_their_names(engine):
    point = Record()
    point.x = -3
    setattr(point, "y-axis", 0.5)
    (answer,) = call(engine, components.echo(), "test:echo/echo@0.1.0", "list-point", [point])
    assert vars(answer) == {"x": -3, "y-axis": 0.5}


def test_a_component_of_another_memory_size_starts_its_heap_behind_its_data(engine):
    core = wat2wasm(
        '(module (import "env" "memory" (memory 3))'
        ' (import "env" "realloc" (func $new (param i32 i32 i32 i32) (result i32)))'
        ' (func (export "start") (result i32)'
        "  (call $new (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))))"
    )
    wasm = wrap(bytes(core), {"": Interface("", {"start": "(result u32)"})})
    assert call(engine, wasm, "", "start") == 3 * 65536


def test_a_trap_is_a_trap(engine):
    with pytest.raises(WasmtimeError, match="unreachable"):
        call(engine, components.faults(), "test:faults/faults@0.1.0", "trap")


def test_what_is_not_declared_is_refused_by_name():
    core = bytes(wat2wasm('(module (import "a:b/c" "d" (func)))'))
    with pytest.raises(ValueError, match="a:b/c declares no function 'd'"):
        wrap(core)


@pytest.mark.parametrize("wasm", [b"", b"\0asm", components.greeter(), components.not_wasm()])
def test_only_core_modules_are_read(wasm):
    with pytest.raises(ValueError, match="not a core WebAssembly module"):
        read_core_module(wasm)


@pytest.mark.guests
@pytest.mark.parametrize("source", build.SOURCES, ids=lambda path: path.name)
async def test_the_committed_component_is_what_its_source_compiles_to(source: Path):
    compiled = await asyncio.to_thread(build.compile_fixture, source)
    assert compiled == build.target(source).read_bytes()
