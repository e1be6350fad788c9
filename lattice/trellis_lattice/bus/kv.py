"""Buckets of keys with revisions: what the lattice's shared state is kept in.

The laws of this file: every write may name the revision it is based on, and then fails with `Conflict` if
that is no longer the newest; revisions of a bucket only grow; a watch reports every difference between what
it last reported and what is true now, also after the connection was away, and never a state older than one
it has reported; deadlines are absolute, on the event loop's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trellis_lattice.errors import Conflict

__all__ = ["Change", "Entry", "KeyValueBucket", "Watch", "modify"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored value and the revision that put it there."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch reports. `value` is None if the key is gone; `revision` is that of the change, 0 if unknown."""

    key: str
    value: bytes | None
    revision: int


class Watch(Protocol):
    """A running watch."""

    async def synced(self, *, deadline: float) -> None:
        """Returns once everything that was there has been reported; after a reconnection, again."""

    async def aclose(self) -> None:
        """No further change is reported. Idempotent."""


class KeyValueBucket(Protocol):
    """One bucket. Keys: letters, digits and `-/_=.` (`subjects.bucket_key`)."""

    async def get(self, key: str, *, deadline: float) -> Entry | None:
        """The newest value; None if there is none or it was deleted."""

    async def put(self, key: str, value: bytes, *, deadline: float, expected: int | None = None) -> int:
        """Stores and returns the new revision.

        `expected` None: whatever is there; 0: only if the key is absent; else only if that is its revision.
        Raises `Conflict`.
        """

    async def delete(self, key: str, *, deadline: float, expected: int | None = None, purge: bool = False) -> None:
        """Removes the key, `purge` with its history. An absent key is fine. Raises `Conflict` as `put` does."""

    async def entries(self, *, deadline: float) -> dict[str, Entry]:
        """Everything in the bucket, by key."""

    async def keys(self, *, deadline: float) -> list[str]:
        """The keys in order, without reading the values."""

    async def watch(self, on_change: Callable[[Change], None], *, deadline: float) -> Watch:
        """Reports what is there and then every change to the plain function `on_change`, in order of revision."""


async def modify(
    bucket: KeyValueBucket,
    key: str,
    change: Callable[[bytes | None], bytes | None],
    *,
    deadline: float,
    attempts: int = 16,
) -> bytes | None:
    """Reads, changes and writes back, again if someone else wrote meanwhile; returns what is stored then.

    `change` gets the value (None: absent) and returns the new one (None: remove). It may be called several
    times, so it must be pure. An unchanged value is not written. Raises `Conflict` after `attempts` tries, and
    whatever `change` raises.
    """
    for _ in range(attempts):
        entry = await bucket.get(key, deadline=deadline)
        old = entry.value if entry is not None else None
        new = change(old)
        if new == old:
            return old
        try:
            if new is not None:
                await bucket.put(key, new, deadline=deadline, expected=entry.revision if entry is not None else 0)
            elif entry is not None:
                await bucket.delete(key, deadline=deadline, expected=entry.revision)
        except Conflict:
            continue
        return new
    raise Conflict(
        f"{key} was changed by others {attempts} times while it was being written.", remedy="Try again.", key=key
    )
