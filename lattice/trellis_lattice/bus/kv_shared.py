"""One watch for all who watch the same bucket over the same connection: every change is sent and read once.

The law of this file: whoever joins later is told at once of everything that the others were told of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.kv import Change, Watch

__all__ = ["SharedWatch", "join"]

_log = logging.getLogger("trellis.bus")

Start = Callable[[Callable[[Change], None]], Awaitable[Watch]]
"""Starts a watch that reports to the function given."""

_shared: WeakKeyDictionary[Connection, dict[str, _Source]] = WeakKeyDictionary()


async def join(connection: Connection, bucket: str, on_change: Callable[[Change], None], start: Start) -> SharedWatch:
    """Joins the watch on `bucket`, which is begun by `start` if there is none. Raises what `start` raises."""
    sources = _shared.setdefault(connection, {})
    source = sources.get(bucket)
    if source is None:
        source = sources[bucket] = _Source(bucket)
    watch = SharedWatch(sources, source, on_change)
    for change in sorted(source.known.values(), key=lambda each: each.revision):
        watch._report(change)
    source.members.append(watch)
    try:
        async with source.beginning:
            if source.watch is None:
                source.watch = await start(source.report)
    except BaseException:
        await watch.aclose()
        raise
    return watch


class SharedWatch:
    """One part in a watch; the last that leaves ends it."""

    def __init__(self, sources: dict[str, _Source], source: _Source, on_change: Callable[[Change], None]) -> None:
        self._sources = sources
        self._source = source
        self._on_change = on_change

    async def synced(self, *, deadline: float) -> None:
        if self._source.watch is not None:
            await self._source.watch.synced(deadline=deadline)

    async def aclose(self) -> None:
        source = self._source
        if self not in source.members:
            return
        source.members.remove(self)
        if source.members:
            return
        if self._sources.get(source.bucket) is source:
            del self._sources[source.bucket]
        watch, source.watch = source.watch, None
        if watch is not None:
            await watch.aclose()

    def _report(self, change: Change) -> None:
        try:
            self._on_change(change)
        except Exception:
            _log.exception("A watcher of %s failed on %s", self._source.bucket, change.key)


class _Source:
    """What is shared."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.members: list[SharedWatch] = []
        self.watch: Watch | None = None
        self.beginning = asyncio.Lock()
        self.known: dict[str, Change] = {}
        """The last change reported of every key that is there."""

    def report(self, change: Change) -> None:
        if change.value is None:
            self.known.pop(change.key, None)
        else:
            self.known[change.key] = change
        for member in tuple(self.members):
            member._report(change)
