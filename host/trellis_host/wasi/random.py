"""`wasi:random`: random, insecure, insecure-seed. All three are answered by the secure source."""

from __future__ import annotations

from trellis_host.engine.api import HostFunction, HostInterface
from trellis_host.wasi.context import WasiContext, trap
from trellis_host.wasi.version import named

__all__ = ["MAX_RANDOM_BYTES", "RANDOM"]

MAX_RANDOM_BYTES = 64 * 1024
"""Most bytes of one call; more would hold up the host while they are handed over."""


def _bytes(context: WasiContext, length: int) -> bytes:
    if length > MAX_RANDOM_BYTES:
        raise trap(context, f"{length} random bytes were asked for in one call, more than {MAX_RANDOM_BYTES}")
    return context.settings.random(length)


def _u64(context: WasiContext) -> int:
    return int.from_bytes(context.settings.random(8), "little")


def _seed(context: WasiContext) -> tuple[int, int]:
    return _u64(context), _u64(context)


RANDOM: tuple[HostInterface, ...] = (
    HostInterface(
        named("random", "random"),
        {"get-random-bytes": HostFunction(_bytes), "get-random-u64": HostFunction(_u64)},
    ),
    HostInterface(
        named("random", "insecure"),
        {"get-insecure-random-bytes": HostFunction(_bytes), "get-insecure-random-u64": HostFunction(_u64)},
    ),
    HostInterface(
        named("random", "insecure-seed"),
        {"insecure-seed": HostFunction(_seed)},
    ),
)
