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
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

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
        self._workers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="trellis-compile")
        self._closed = False

    async def load(self, wasm: bytes, *, progress: LoadProgress | None = None) -> Component:
        """Compiles a component in a worker thread, or takes it from the cache. Equal loads share one compilation.

        `progress` is told each phase. Raises `RequestInvalid` saying what is wrong with the bytes.
        """
        self.check_open()
        tell = progress or _tell_nobody
        tell(LoadPhase.READING)
        check_header(wasm)
        digest = await asyncio.get_running_loop().run_in_executor(self._workers, _digest, wasm)
        known = self._components.get(digest)
        if known is not None:
            tell(LoadPhase.READY)
            return known
        load = self._loads.get(digest)
        if load is None:
            load = self._loads[digest] = _Load(asyncio.create_task(self._load(wasm, digest)))
            load.task.add_done_callback(partial(self._loaded, digest))
        load.listeners.append(tell)
        return await asyncio.shield(load.task)

    def _loaded(self, digest: str, task: asyncio.Task[Component]) -> None:
        self._loads.pop(digest, None)
        if not task.cancelled():
            task.exception()

    async def _load(self, wasm: bytes, digest: str) -> Component:
        loop = asyncio.get_running_loop()

        def tell(phase: LoadPhase) -> None:
            load = self._loads.get(digest)
            for listener in load.listeners if load is not None else ():
                listener(phase)

        compiled, pooled = await loop.run_in_executor(
            self._workers, self._compile_or_find, wasm, digest, lambda phase: loop.call_soon_threadsafe(tell, phase)
        )
        component = Component(self, compiled, digest, len(wasm), pooled)
        self._components[digest] = component
        tell(LoadPhase.READY)
        return component

    def _compile_or_find(
        self, wasm: bytes, digest: str, tell: Callable[[LoadPhase], object]
    ) -> tuple[ffi.WasmtimeComponent, bool]:
        """In the worker thread: compiled code, and whether it fits the pool."""
        cache = self._cache
        path = cache.find(digest) if cache is not None else None
        if cache is not None and path is not None:
            try:
                found = self._place(lambda engine: ffi.WasmtimeComponent.deserialize_file(engine, str(path)))
                tell(LoadPhase.CACHED)
                return found
            except wasmtime.WasmtimeError:
                cache.discard(path)
        tell(LoadPhase.COMPILING)
        try:
            code = bytes(ffi.WasmtimeComponent(self._engines[False], wasm).serialize())
        except wasmtime.WasmtimeError as error:
            raise load_failure(str(error)) from None
        if cache is not None:
            stored = str(cache.store(digest, code))
            return self._place(lambda engine: ffi.WasmtimeComponent.deserialize_file(engine, stored))
        return self._place(lambda engine: ffi.WasmtimeComponent.deserialize(engine, code))

    def _place(self, make: Callable[[wasmtime.Engine], ffi.WasmtimeComponent]) -> tuple[ffi.WasmtimeComponent, bool]:
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
        await asyncio.get_running_loop().run_in_executor(None, self._stop_threads)

    def _stop_threads(self) -> None:
        self.ticker.close()
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _sandboxes(self) -> list[Any]:
        return [sandbox for sandbox in SANDBOXES.values() if sandbox.linked.component.engine is self]

    # For Component and LinkedComponent.

    def wasmtime_engine(self, pooled: bool) -> wasmtime.Engine:
        return self._engines[pooled]

    def address_of_engine(self, component: Component) -> int:
        return self._addresses[component.pooled]

    def new_linker(self, component: Component) -> ffi.WasmtimeLinker:
        return ffi.WasmtimeLinker(self._engines[component.pooled])


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
