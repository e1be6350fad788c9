"""The engine: compiles components and keeps what all sandboxes of a host share.

Two allocators: a pool, from which a sandbox costs microseconds, and one on demand for components that are larger
than a place of the pool. Compiled code is the same for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import hashlib
import os
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar

import wasmtime

from trellis_host.engine import ffi
from trellis_host.engine.api import LoadPhase, LoadProgress
from trellis_host.engine.cache import CodeCache
from trellis_host.engine.component import Component, check_header
from trellis_host.engine.failures import does_not_fit, load_failure
from trellis_host.engine.imports import SANDBOXES
from trellis_host.engine.settings import EngineSettings, fitting, pool_sizes, settings_digest
from trellis_host.engine.ticker import Ticker
from trellis_lattice.errors import Unavailable

__all__ = ["Engine", "EngineStats"]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A moment of the engine. `in_flight`: sandboxes alive; `tasks`: host functions that have not ended."""

    in_flight: int
    max_in_flight: int
    tasks: int
    components: int
    memory_reservation: int
    ticking: bool


@dataclass(eq=False, slots=True)
class _Load:
    """A load several callers may wait for."""

    task: asyncio.Task[Component]
    listeners: list[LoadProgress] = field(default_factory=list)


_Placed: TypeAlias = tuple[ffi.WasmtimeComponent, bool]
"""A compiled component, and whether it fits the pool."""


class Engine:
    """Runs components on the event loop of the thread that uses it. Close it with `aclose`."""

    def __init__(self, settings: EngineSettings | None = None) -> None:
        _enable_faulthandler()
        self.settings = settings = fitting(settings or EngineSettings())
        config = partial(
            ffi.base_config,
            memory_reservation=settings.memory_reservation,
            max_wasm_stack=settings.max_wasm_stack,
            async_stack=settings.async_stack,
        )
        pooling = config()
        ffi.use_pool(pooling, pool_sizes(settings))
        self._engines = {True: wasmtime.Engine(pooling), False: wasmtime.Engine(config())}
        self._addresses = {pooled: ffi.pointer(engine) for pooled, engine in self._engines.items()}
        self.ticker = Ticker(
            [partial(ffi.engine_increment_epoch, address) for address in self._addresses.values()], settings.tick
        )
        self.tasks: set[asyncio.Future[Any]] = set()
        """Host functions that have not ended, also those whose sandbox has."""
        self._cache = (
            None
            if settings.cache_dir is None
            else CodeCache(settings.cache_dir, ffi.WASMTIME_VERSION, settings_digest(settings))
        )
        self._components: weakref.WeakValueDictionary[str, Component] = weakref.WeakValueDictionary()
        self._loads: dict[str, _Load] = {}
        self._compiling = threading.Semaphore(2)
        self._closed = False

    async def load(self, wasm: bytes, *, progress: LoadProgress | None = None) -> Component:
        """Compiles a component in a worker thread, or takes it from the cache. Equal loads share one compilation.

        `progress` is told each phase. Raises `RequestInvalid` saying what is wrong with the bytes.
        """
        self.check_open()
        tell = progress or _tell_nobody
        tell(LoadPhase.READING)
        check_header(wasm)
        digest = await asyncio.get_running_loop().run_in_executor(None, _digest, wasm)
        known = self._components.get(digest)
        if known is not None:
            tell(LoadPhase.READY)
            return known
        load = self._loads.get(digest)
        if load is None:
            load = self._loads[digest] = _Load(asyncio.create_task(self._load(wasm, digest)))
            load.task.add_done_callback(partial(self._loaded, digest))
        load.listeners.append(tell)
        try:
            return await asyncio.shield(load.task)
        except asyncio.CancelledError:
            if load.task.cancelled():
                self.check_open()
            raise

    def _loaded(self, digest: str, task: asyncio.Task[Component]) -> None:
        self._loads.pop(digest, None)
        if not task.cancelled():
            task.exception()

    async def _load(self, wasm: bytes, digest: str) -> Component:
        def tell(phase: LoadPhase) -> None:
            load = self._loads.get(digest)
            for listener in load.listeners if load is not None else ():
                listener(phase)

        found = await asyncio.get_running_loop().run_in_executor(None, self._find, digest)
        if found is not None:
            tell(LoadPhase.CACHED)
        else:
            tell(LoadPhase.COMPILING)
            found = await _in_daemon_thread(partial(self._compile, wasm, digest))
        compiled, pooled = found
        component = Component(self, compiled, digest, len(wasm), pooled)
        self._components[digest] = component
        tell(LoadPhase.READY)
        return component

    def _find(self, digest: str) -> _Placed | None:
        """In a worker thread: compiled code from the cache."""
        cache = self._cache
        path = cache.find(digest) if cache is not None else None
        if cache is None or path is None:
            return None
        try:
            return self._place(lambda engine: ffi.WasmtimeComponent.deserialize_file(engine, str(path)))
        except wasmtime.WasmtimeError:
            cache.discard(path)
            return None

    def _compile(self, wasm: bytes, digest: str) -> _Placed:
        """In a worker thread: compiled code, by whichever process of this cache is first to compile it."""
        with self._compiling, self._cache.alone(digest) if self._cache is not None else contextlib.nullcontext():
            return self._find(digest) or self._compile_now(wasm, digest)

    def _compile_now(self, wasm: bytes, digest: str) -> _Placed:
        try:
            code = bytes(ffi.WasmtimeComponent(self._engines[False], wasm).serialize())
        except wasmtime.WasmtimeError as error:
            raise load_failure(str(error)) from None
        if self._cache is not None:
            stored = str(self._cache.store(digest, code))
            return self._place(lambda engine: ffi.WasmtimeComponent.deserialize_file(engine, stored))
        return self._place(lambda engine: ffi.WasmtimeComponent.deserialize(engine, code))

    def _place(self, make: Callable[[wasmtime.Engine], ffi.WasmtimeComponent]) -> _Placed:
        """Into the pool, or beside it where it does not fit."""
        try:
            return make(self._engines[True]), True
        except wasmtime.WasmtimeError as error:
            if not does_not_fit(str(error)):
                raise
        return make(self._engines[False]), False

    def check_open(self) -> None:
        """Raises `Unavailable` after `aclose`."""
        if self._closed:
            raise Unavailable("The engine is closed.", remedy="The host is stopping; call another host.")

    def stats(self) -> EngineStats:
        return EngineStats(
            in_flight=len(self._sandboxes()),
            max_in_flight=self.settings.max_in_flight,
            tasks=len(self.tasks),
            components=len(self._components),
            memory_reservation=self.settings.memory_reservation,
            ticking=not self.ticker.parked,
        )

    async def aclose(self) -> None:
        """Ends all sandboxes and the helper threads. Host functions that ignore their cancellation are left behind
        after one second. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for sandbox in self._sandboxes():
            sandbox.close()
        for load in tuple(self._loads.values()):
            load.task.cancel()
        tasks = [task for task in self.tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        await asyncio.get_running_loop().run_in_executor(None, self.ticker.close)

    def _sandboxes(self) -> list[Any]:
        return [sandbox for sandbox in SANDBOXES.values() if sandbox.linked.component.engine is self]

    # For Component and LinkedComponent.

    def wasmtime_engine(self, pooled: bool) -> wasmtime.Engine:
        return self._engines[pooled]

    def address_of_engine(self, component: Component) -> int:
        return self._addresses[component.pooled]

    def new_linker(self, component: Component) -> ffi.WasmtimeLinker:
        return ffi.WasmtimeLinker(self._engines[component.pooled])


T = TypeVar("T")


async def _in_daemon_thread(work: Callable[[], T]) -> T:
    """Runs `work`, which nothing can interrupt, in a thread that does not hold up the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as failure:
            error = failure
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name="trellis-compile", daemon=True).start()
    return await future


def _digest(wasm: bytes) -> str:
    return hashlib.sha256(wasm).hexdigest()


def _tell_nobody(phase: LoadPhase) -> None:
    pass


def _enable_faulthandler() -> None:
    """Before the first engine, because enabled after it, it takes wasmtime's signal handler away, and the next
    out-of-bounds access of any component kills the process."""
    if faulthandler.is_enabled():
        return
    for stream in filter(None, (sys.stderr, sys.__stderr__)):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            faulthandler.enable(file=stream)
            return
    faulthandler.enable(file=os.open(os.devnull, os.O_WRONLY))
