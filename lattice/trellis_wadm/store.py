"""Applications in NATS, in v1's layout (bucket `wadm_manifests`), and a live copy of them for the reconciler.

Key `<lattice>` lists the names, key `<lattice>-<name>` holds one `StoredApplication`. All writes are checked
against the revision they are based on.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from trellis_lattice.bus.kv import Change, KeyValueBucket, Watch, modify
from trellis_lattice.errors import PeerMisbehaved, TrellisError
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.history import History, history_key

__all__ = ["BUCKET", "HistoryStore", "ManifestMirror", "ManifestStore", "announced_name"]

BUCKET = "wadm_manifests"
_log = logging.getLogger("trellis.wadm")
_READERS = 16
"""How many records are read at the same time."""


class ManifestStore:
    """The applications of one lattice. Deadlines are absolute, on the event loop's clock."""

    def __init__(self, bucket: KeyValueBucket, lattice: str) -> None:
        self._bucket = bucket
        self._lattice = lattice

    def _key(self, name: str) -> str:
        return f"{self._lattice}-{name}"

    async def names(self, *, deadline: float) -> list[str]:
        entry = await self._bucket.get(self._lattice, deadline=deadline)
        return _names(entry.value if entry else None)

    async def get(self, name: str, *, deadline: float) -> StoredApplication | None:
        entry = await self._bucket.get(self._key(name), deadline=deadline)
        return StoredApplication.decode(name, entry.value) if entry else None

    async def all(self, *, deadline: float) -> dict[str, StoredApplication]:
        """Every application by name; a record that cannot be read is left out and logged."""
        limit = asyncio.Semaphore(_READERS)
        found: dict[str, StoredApplication] = {}

        async def read(name: str) -> None:
            async with limit:
                try:
                    app = await self.get(name, deadline=deadline)
                except PeerMisbehaved as error:
                    _log.warning("%s", error)
                    return
            if app is not None:
                found[name] = app

        names = await self.names(deadline=deadline)
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(read(name), name=f"read application {name}")
        return {name: found[name] for name in names if name in found}

    async def change(
        self, name: str, change: Callable[[StoredApplication | None], StoredApplication | None], *, deadline: float
    ) -> StoredApplication | None:
        """Reads, changes and writes back one application, again if somebody else wrote meanwhile.

        `change` must be pure; None means absent. Raises what it raises, and `Conflict`.
        """
        result: StoredApplication | None = None

        def rewrite(payload: bytes | None) -> bytes | None:
            nonlocal result
            result = change(StoredApplication.decode(name, payload) if payload is not None else None)
            return result.encode() if result is not None else None

        await modify(self._bucket, self._key(name), rewrite, deadline=deadline)
        await self._list(name, result is not None, deadline)
        return result

    async def _list(self, name: str, present: bool, deadline: float) -> None:
        def rewrite(payload: bytes | None) -> bytes | None:
            names = _names(payload)
            if (name in names) is present:
                return payload
            left = [*names, name] if present else [other for other in names if other != name]
            return json.dumps(left).encode()

        await modify(self._bucket, self._lattice, rewrite, deadline=deadline)


class HistoryStore:
    """What was done with the applications of one lattice, in its own bucket. Deadlines as above."""

    def __init__(self, bucket: KeyValueBucket) -> None:
        self._bucket = bucket

    async def read(self, name: str, *, deadline: float) -> History:
        """What is known; empty for what only v1's tools have touched."""
        entry = await self._bucket.get(history_key(name), deadline=deadline)
        return History.decode(entry.value if entry else None)

    async def note(self, name: str, change: Callable[[History], History | None], *, deadline: float) -> None:
        """Writes down what was done. None: the application is gone, and its history with it."""

        def rewrite(payload: bytes | None) -> bytes | None:
            changed = change(History.decode(payload))
            return changed.encode() if changed is not None else None

        await modify(self._bucket, history_key(name), rewrite, deadline=deadline)


def _names(payload: bytes | None) -> list[str]:
    try:
        names = json.loads(payload) if payload else []
    except ValueError:
        names = []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def announced_name(payload: bytes) -> str | None:
    """The application that a `manifest_published` or `manifest_unpublished` event is about."""
    try:
        data = json.loads(payload)["data"]
        name = data["name"] if "name" in data else data["metadata"]["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


class ManifestMirror:
    """A copy of the applications of one lattice that follows every change."""

    def __init__(self, lattice: str, on_change: Callable[[str], None]) -> None:
        """`on_change` hears the name of each application whose record changed."""
        self._lattice = lattice
        self._on_change = on_change
        self._names: list[str] = []
        self._records: dict[str, StoredApplication] = {}
        self._watch: Watch | None = None

    async def start(self, bucket: KeyValueBucket, *, deadline: float) -> None:
        """Returns once the copy is complete."""
        self._watch = await bucket.watch(self._receive, deadline=deadline)
        await self._watch.synced(deadline=deadline)

    async def aclose(self) -> None:
        if self._watch is not None:
            await self._watch.aclose()

    @property
    def applications(self) -> dict[str, StoredApplication]:
        """Every application by name. Only listed ones: `a-b` may belong to lattice `a` or be lattice `a-b`."""
        return {name: self._records[name] for name in self._names if name in self._records}

    def _receive(self, change: Change) -> None:
        if change.key == self._lattice:
            before = set(self._names)
            self._names = _names(change.value)
            for name in sorted(before ^ set(self._names)):
                self._on_change(name)
            return
        prefix = f"{self._lattice}-"
        if not change.key.startswith(prefix):
            return
        name = change.key.removeprefix(prefix)
        if change.value is None:
            self._records.pop(name, None)
        else:
            try:
                self._records[name] = StoredApplication.decode(name, change.value)
            except TrellisError as error:
                # What was read before stays in force: a broken record must not stop what runs.
                _log.warning("%s", error)
                return
        self._on_change(name)
