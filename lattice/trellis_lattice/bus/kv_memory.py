"""A bucket in memory: for tests, and for a host without a lattice. Same contract as the one in JetStream."""

from __future__ import annotations

from collections.abc import Callable

from trellis_lattice.bus.kv import Change, Entry, Watch
from trellis_lattice.errors import Conflict
from trellis_lattice.subjects import bucket_key

__all__ = ["MemoryBucket"]


class MemoryBucket:
    """Everything happens at once; changes are reported before `put` and `delete` return."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._revision = 0
        self._watches: list[_MemoryWatch] = []

    async def get(self, key: str, *, deadline: float) -> Entry | None:
        return self._entries.get(bucket_key(key))

    async def put(self, key: str, value: bytes, *, deadline: float, expected: int | None = None) -> int:
        self._expect(key, expected)
        self._revision += 1
        self._entries[key] = Entry(key, value, self._revision)
        self._report(Change(key, value, self._revision))
        return self._revision

    async def delete(self, key: str, *, deadline: float, expected: int | None = None, purge: bool = False) -> None:
        self._expect(key, expected)
        self._revision += 1
        if self._entries.pop(key, None) is not None:
            self._report(Change(key, None, self._revision))

    async def entries(self, *, deadline: float) -> dict[str, Entry]:
        return dict(self._entries)

    async def keys(self, *, deadline: float) -> list[str]:
        return sorted(self._entries)

    async def watch(self, on_change: Callable[[Change], None], *, deadline: float) -> Watch:
        watch = _MemoryWatch(self._watches, on_change)
        self._watches.append(watch)
        for entry in sorted(self._entries.values(), key=lambda entry: entry.revision):
            on_change(Change(entry.key, entry.value, entry.revision))
        return watch

    def _expect(self, key: str, expected: int | None) -> None:
        entry = self._entries.get(bucket_key(key))
        if expected is not None and expected != (entry.revision if entry is not None else 0):
            raise Conflict(f"{key} was changed meanwhile.", key=key, expected=expected)

    def _report(self, change: Change) -> None:
        for watch in list(self._watches):
            watch.on_change(change)


class _MemoryWatch:
    def __init__(self, watches: list[_MemoryWatch], on_change: Callable[[Change], None]) -> None:
        self._watches = watches
        self.on_change = on_change

    async def synced(self, *, deadline: float) -> None:
        return None

    async def aclose(self) -> None:
        if self in self._watches:
            self._watches.remove(self)
