"""How an engine is sized. Pure, but for the trial that asks whether the address space holds the pool."""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import dataclass, replace
from pathlib import Path

from trellis_lattice.errors import ConfigError

__all__ = ["EngineSettings", "PoolNeed", "fitting", "pool_bytes", "pool_sizes", "settings_digest"]

GIB = 1024**3
MIB = 1024**2
PAGE = 65536

_GUARD = 32 * MIB
"""wasmtime's default guard around each memory, part of what the pool reserves."""
_TABLE_ELEMENT = 16
"""Upper bound of the bytes of one table element."""


@dataclass(frozen=True, slots=True)
class PoolNeed:
    """What one invocation may take from the pool; measured on components made from Python, the largest in use."""

    core_instances: int = 32
    memories: int = 2
    tables: int = 16
    table_elements: int = 20_000


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`max_in_flight`: sandboxes alive at one time. `cache_dir`: compiled code lives here (None: nowhere).
    `memory_reservation`: address space per memory, in bytes; 4 GiB lets compiled code skip bounds checks.
    `tick`: seconds between epochs, the longest one component holds the event loop."""

    max_in_flight: int = 2048
    cache_dir: Path | None = None
    memory_reservation: int = 4 * GIB
    tick: float = 0.002
    max_wasm_stack: int = 512 * 1024
    async_stack: int = 2 * MIB
    need: PoolNeed = PoolNeed()

    def __post_init__(self) -> None:
        for key in ("max_in_flight", "memory_reservation", "tick", "max_wasm_stack"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"Engine setting {key} must be above 0.", key=key, value=getattr(self, key))
        if self.async_stack < self.max_wasm_stack + 256 * 1024:
            raise ConfigError(
                f"Engine setting async_stack ({self.async_stack} bytes) is too close to max_wasm_stack.",
                remedy="Leave at least 256 KiB above max_wasm_stack for host functions.",
                key="async_stack",
                value=self.async_stack,
            )


def pool_sizes(settings: EngineSettings) -> dict[str, int]:
    """The pool's settings under the names of wasmtime's C API: what may be in flight times what each needs."""
    flights, need = settings.max_in_flight, settings.need
    return {
        "total_component_instances": flights,
        "total_core_instances": flights * need.core_instances,
        "total_memories": flights * need.memories,
        "total_tables": flights * need.tables,
        "total_stacks": flights,
        "max_core_instances_per_component": need.core_instances,
        "max_memories_per_component": need.memories,
        "max_tables_per_component": need.tables,
        "max_memories_per_module": need.memories,
        "max_tables_per_module": need.tables,
        "table_elements": need.table_elements,
        "max_memory_size": settings.memory_reservation,
        "max_component_instance_size": 16 * MIB,
        "max_core_instance_size": 16 * MIB,
        "max_unused_warm_slots": min(flights, 100),
        "linear_memory_keep_resident": MIB,
        "table_keep_resident": PAGE,
        "async_stack_keep_resident": PAGE,
    }


def pool_bytes(settings: EngineSettings) -> int:
    """Address space the pool takes."""
    flights, need = settings.max_in_flight, settings.need
    memories = flights * need.memories * (settings.memory_reservation + _GUARD) + _GUARD
    tables = flights * need.tables * need.table_elements * _TABLE_ELEMENT
    return memories + tables + flights * (settings.async_stack + PAGE)


def fitting(settings: EngineSettings) -> EngineSettings:
    """The settings with a memory reservation that this process can map: halved until a trial works.

    A pool that cannot be reserved would abort the process, with no exception. Raises `ConfigError` when even
    16 MiB for each memory is too much.
    """
    while not _can_reserve(pool_bytes(settings)):
        if settings.memory_reservation <= 16 * MIB:
            raise ConfigError(
                f"The address space does not hold a pool for {settings.max_in_flight} invocations.",
                remedy="Lower max_in_flight or raise the limit of virtual memory (ulimit -v).",
                key="max_in_flight",
                value=settings.max_in_flight,
            )
        settings = replace(settings, memory_reservation=settings.memory_reservation // 2)
    return settings


_NO_RESERVE = 0x4000 if hasattr(mmap, "MAP_POPULATE") else 0
"""MAP_NORESERVE on Linux, which the mmap module does not name in every version."""


def _can_reserve(size: int) -> bool:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
    try:
        mmap.mmap(-1, size, flags=flags, prot=0).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True


def settings_digest(settings: EngineSettings) -> str:
    """Names what compiled code depends on, besides component, wasmtime version and target."""
    text = f"{settings.memory_reservation},{settings.max_wasm_stack},epochs"
    return hashlib.sha256(text.encode()).hexdigest()[:12]
