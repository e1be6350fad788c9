"""From bytes to a component: what is refused and how, compilation, the cache of compiled code."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import wasmtime

from trellis_host.engine import Engine, EngineSettings, LoadPhase
from trellis_host.engine.cache import CodeCache
from trellis_lattice.errors import ConfigError, RequestInvalid, Unavailable

from .conftest import read_component
from .support import soon

Wasm = Callable[[str], bytes]


@pytest_asyncio.fixture
async def cached(tmp_path: Path) -> AsyncIterator[Callable[[], Engine]]:
    """Makes engines that share a directory for compiled code."""
    engines: list[Engine] = []

    def make() -> Engine:
        engines.append(Engine(EngineSettings(max_in_flight=2, cache_dir=tmp_path / "code")))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.aclose()


GREET = "greet"


async def test_closing_the_engine_ends_a_load_for_those_who_wait(cached: Callable[[], Engine], wasm: Wasm) -> None:
    engine = cached()
    compiling = asyncio.Event()

    def progress(phase: LoadPhase) -> None:
        if phase is LoadPhase.COMPILING:
            compiling.set()

    load = asyncio.ensure_future(engine.load(wasm(GREET), progress=progress))
    await compiling.wait()
    await engine.aclose()
    with pytest.raises(Unavailable, match="engine is closed"):
        await load


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "empty: 0 bytes"),
        (b"\0asm\x0d", "truncated: it ends after 5 bytes"),
        (b"\0asm\x01\0\0\0", "core WebAssembly module, not a component"),
        (b"\0asm\x0e\0\x01\0", r"unknown layer or version \(0e 00 01 00\)"),
        (b"<!DOCTYPE html><html>", "looks like HTML or XML, such as the error page"),
        (b'{"error": "not found"}', "looks like JSON"),
        (b"\x7fELF\x02\x01\x01", "looks like a native program"),
        (b"(component)", "component text"),
        (b"PK\x03\x04....", "zip archive"),
        (bytes(range(200, 256)), "begins with c8 c9 ca"),
    ],
)
async def test_what_is_not_a_component_is_named(engine: Engine, data: bytes, complaint: str) -> None:
    with pytest.raises(RequestInvalid, match=complaint) as refused:
        await engine.load(data)
    assert refused.value.remedy


@pytest.mark.parametrize("kept", [9, 50, 200, -1])
async def test_a_truncated_component_is_named(engine: Engine, wasm: Wasm, kept: int) -> None:
    with pytest.raises(RequestInvalid, match=r"truncated|not a valid one"):
        await engine.load(wasm(GREET)[:kept])


async def test_damaged_bytes_are_refused_with_a_reason(engine: Engine, wasm: Wasm) -> None:
    data = bytearray(wasm(GREET))
    data[8:40] = bytes(range(32))
    with pytest.raises(RequestInvalid, match=r"truncated or damaged: .+"):
        await engine.load(bytes(data))


async def test_a_component_says_what_it_is(engine: Engine, wasm: Wasm) -> None:
    data = wasm(GREET)
    component = await engine.load(data)
    assert component.size == len(data)
    assert len(component.digest) == 64
    assert component.pooled
    assert list(component.exports) == ["demo:greet/greeter@1.2.0"]


async def test_progress_and_the_cache_of_compiled_code(
    cached: Callable[[], Engine], wasm: Wasm, tmp_path: Path
) -> None:
    phases: list[LoadPhase] = []
    first = cached()
    await greets(first, wasm, phases)
    assert phases == [LoadPhase.READING, LoadPhase.COMPILING, LoadPhase.READY]
    directory = tmp_path / "code"
    (file,) = directory.glob("*.cwasm")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    phases.clear()
    await greets(cached(), wasm, phases)
    assert phases == [LoadPhase.READING, LoadPhase.CACHED, LoadPhase.READY]


async def greets(engine: Engine, wasm: Wasm, phases: list[LoadPhase]) -> None:
    component = await engine.load(wasm(GREET), progress=phases.append)
    linked = component.link(lambda name, type: None)
    export = linked.export("demo:greet/greeter", "greet")
    assert await linked.call(export, ["you"], None, deadline=soon()) == "Hello, you!"


def replace(file: Path, data: bytes) -> None:
    """A new file of the same name: the old one is mapped by a running engine."""
    file.unlink()
    file.touch(mode=0o600)
    file.write_bytes(data)


def cut(file: Path) -> None:
    replace(file, file.read_bytes()[:1000])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    replace(file, bytes(data))


def empty(file: Path) -> None:
    replace(file, b"")


def open_to_others(file: Path) -> None:
    file.chmod(0o666)


@pytest.mark.parametrize("damage", [cut, flip, empty, open_to_others])
async def test_a_damaged_file_is_compiled_again(
    cached: Callable[[], Engine], wasm: Wasm, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    await greets(cached(), wasm, [])
    (file,) = (tmp_path / "code").glob("*.cwasm")
    sound = file.read_bytes()
    damage(file)
    phases: list[LoadPhase] = []
    await greets(cached(), wasm, phases)
    assert LoadPhase.COMPILING in phases
    (file,) = (tmp_path / "code").glob("*.cwasm")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_size == len(sound)


async def test_code_with_a_right_checksum_that_is_no_code_is_compiled_again(
    cached: Callable[[], Engine], wasm: Wasm, tmp_path: Path
) -> None:
    await greets(cached(), wasm, [])
    (file,) = (tmp_path / "code").glob("*.cwasm")
    name = file.name.split(".")
    name[-2] = "00000000"  # the checksum of nothing
    file.unlink()
    (tmp_path / "code" / ".".join(name)).touch(mode=0o600)
    phases: list[LoadPhase] = []
    await greets(cached(), wasm, phases)
    assert LoadPhase.COMPILING in phases


async def test_a_directory_others_can_write_is_refused(
    cached: Callable[[], Engine], wasm: Wasm, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code").chmod(0o777)
    with pytest.raises(ConfigError, match="can be written by others"):
        await cached().load(wasm(GREET))


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, wasm: Wasm) -> None:
    (tmp_path / "file").touch()
    engine = Engine(EngineSettings(max_in_flight=1, cache_dir=tmp_path / "file" / "code"))
    with pytest.raises(ConfigError, match="cannot be kept in"):
        await engine.load(wasm(GREET))
    await engine.aclose()


async def test_equal_loads_at_the_same_time_share_one_compilation(cached: Callable[[], Engine], wasm: Wasm) -> None:
    engine = cached()
    phases: list[LoadPhase] = []
    components = await asyncio.gather(*(engine.load(wasm(GREET), progress=phases.append) for _ in range(10)))
    assert len(set(map(id, components))) == 1
    assert phases.count(LoadPhase.READY) == 10
    again = await engine.load(wasm(GREET))
    assert again is components[0]


async def test_one_caller_giving_up_does_not_end_the_load_of_another(cached: Callable[[], Engine], wasm: Wasm) -> None:
    engine = cached()
    first = asyncio.ensure_future(engine.load(wasm(GREET)))
    second = asyncio.ensure_future(engine.load(wasm(GREET)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).size
    with pytest.raises(asyncio.CancelledError):
        await first


MANY_MEMORIES = "(component {} )".format(
    " ".join(f'(core module $m{n} (memory (export "m") 1)) (core instance (instantiate $m{n}))' for n in range(6))
    + """ (core module $f (func (export "f") (result i32) (i32.const 6))) (core instance $i (instantiate $f))
    (func (export "f") (result u32) (canon lift (core func $i "f")))"""
)
BIG_TABLE = """(component
  (core module $m (table 200000 funcref) (func (export "f") (result i32) (i32.const 7)))
  (core instance $i (instantiate $m))
  (func (export "f") (result u32) (canon lift (core func $i "f"))))"""


MANY_INSTANCES = """(component
  (core module $m (func (export "f") (result i32) (i32.const 8)))
  {} (core instance $i (instantiate $m))
  (func (export "f") (result u32) (canon lift (core func $i "f"))))""".format("(core instance (instantiate $m)) " * 60)
MANY_TABLES = """(component
  (core module $m {} (func (export "f") (result i32) (i32.const 9)))
  (core instance $i (instantiate $m))
  (func (export "f") (result u32) (canon lift (core func $i "f"))))""".format("(table 1 funcref) " * 30)


@pytest.mark.parametrize(
    ("text", "answer"), [(MANY_MEMORIES, 6), (BIG_TABLE, 7), (MANY_INSTANCES, 8), (MANY_TABLES, 9)]
)
async def test_a_component_too_big_for_the_pool_still_runs(
    cached: Callable[[], Engine], text: str, answer: int
) -> None:
    data = bytes(wasmtime.wat2wasm(text))
    for _ in range(2):  # compiled, then from the cache
        component = await cached().load(data)
        assert not component.pooled
        linked = component.link(lambda name, type: None)
        assert await linked.call(linked.export("", "f"), [], None, deadline=soon()) == answer


def test_the_texts_beside_the_tests_are_all_components() -> None:
    names = [path.stem for path in (Path(__file__).parent / "components").glob("*.wat")]
    assert names
    for name in names:
        assert read_component(name)[:8] == b"\0asm\x0d\0\x01\0"


async def test_what_another_process_compiles_is_waited_for_and_used(
    cached: Callable[[], Engine], wasm: Wasm, tmp_path: Path
) -> None:
    directory, aside = tmp_path / "code", tmp_path / "aside"
    component = await cached().load(wasm(GREET))
    [compiled] = directory.glob("*.cwasm")
    compiled.rename(aside)
    phases: asyncio.Queue[LoadPhase] = asyncio.Queue()
    with CodeCache(directory, "any", "any").alone(component.digest):
        second = asyncio.create_task(cached().load(wasm(GREET), progress=phases.put_nowait))
        while await phases.get() is not LoadPhase.COMPILING:
            pass
        aside.rename(compiled)
        inode = compiled.stat().st_ino

    await second

    assert [file.stat().st_ino for file in directory.glob("*.cwasm")] == [inode]
