"""Who follows, until when, and what waits to be told to them. Pure: time is an argument.

The laws of this file: a follower whose lease has run out is forgotten; there are at most `MAX_FOLLOWERS`; of what
happens between two batches a follower gets at most `MAX_BATCH` records and `MAX_BYTES`, the rest is counted and the
count is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["LEASE", "MAX_BATCH", "MAX_BYTES", "MAX_FOLLOWERS", "MAX_LEASE", "Batch", "Followers", "Ring"]

LEASE = 10.0
"""Seconds that a follower asks for; it renews after a third of them."""
MAX_LEASE = 60.0
MAX_FOLLOWERS = 16
MAX_BATCH = 200
"""Records of one batch."""
MAX_BYTES = 256 * 1024
"""Bytes of the records of one batch."""

R = TypeVar("R", bound="Wire")
T = TypeVar("T", contravariant=True)
F = TypeVar("F", bound="Filter[Any]")


class Wire(Protocol):
    """Something that can be told."""

    def to_wire(self) -> dict[str, Any]: ...


class Filter(Protocol[T]):
    """What somebody wants to hear."""

    def admits(self, record: T) -> bool: ...


@dataclass(slots=True)
class _Follower(Generic[F]):
    wants: F
    until: float
    records: list[str] = field(default_factory=list)
    size: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one follower is told at once. `records` are JSON texts."""

    to: str
    records: tuple[str, ...]
    dropped: int

    def encode(self, host: str) -> bytes:
        head = json.dumps({"host": host, "dropped": self.dropped})
        return f'{head[:-1]},"records":[{",".join(self.records)}]}}'.encode()


class Followers(Generic[F]):
    """The followers of one kind of record on one host, by the subject their batches go to."""

    def __init__(self) -> None:
        self._followers: dict[str, _Follower[F]] = {}

    def __len__(self) -> int:
        return len(self._followers)

    @property
    def wants(self) -> list[F]:
        """What the followers want to hear."""
        return [each.wants for each in self._followers.values()]

    def renew(self, to: str, wants: F, lease: float, now: float) -> bool:
        """A follower says that it is there; a lease of 0 ends it. False: there are too many."""
        self.expire(now)
        if lease <= 0:
            self._followers.pop(to, None)
            return True
        found = self._followers.get(to)
        until = now + min(lease, MAX_LEASE)
        if found is not None:
            found.wants, found.until = wants, until
        elif len(self._followers) >= MAX_FOLLOWERS:
            return False
        else:
            self._followers[to] = _Follower(wants, until)
        return True

    def expire(self, now: float) -> float | None:
        """Forgets those whose lease is over; when the next one is, None if nobody follows."""
        for to in [to for to, each in self._followers.items() if each.until <= now]:
            del self._followers[to]
        return min((each.until for each in self._followers.values()), default=None)

    def offer(self, render: Callable[[F], dict[str, Any] | None]) -> bool:
        """Keeps a record for those who want it; `render(wants)` gives its wire form or None. Whether any does."""
        kept = False
        for follower in self._followers.values():
            wire = render(follower.wants)
            if wire is None:
                continue
            kept = True
            text = json.dumps(wire, ensure_ascii=False, separators=(",", ":"), default=str)
            size = len(text.encode("utf-8", "replace"))
            if len(follower.records) >= MAX_BATCH or follower.size + size > MAX_BYTES:
                follower.dropped += 1
            else:
                follower.records.append(text)
                follower.size += size
        return kept

    def take(self) -> list[Batch]:
        """What is to be told now."""
        batches = []
        for to, follower in self._followers.items():
            if follower.records or follower.dropped:
                batches.append(Batch(to, tuple(follower.records), follower.dropped))
                follower.records, follower.size, follower.dropped = [], 0, 0
        return batches


class Ring(Generic[R]):
    """The most recent records, bounded by number and by the size of what they say."""

    def __init__(self, capacity: int, max_size: int) -> None:
        self._capacity = capacity
        self._max_size = max_size
        self._records: list[tuple[int, R]] = []
        self._start = 0
        self._size = 0

    def __len__(self) -> int:
        return len(self._records) - self._start

    def append(self, record: R, size: int) -> None:
        self._records.append((size, record))
        self._size += size
        while len(self) > 1 and (len(self) > self._capacity or self._size > self._max_size):
            self._size -= self._records[self._start][0]
            self._start += 1
        if self._start > self._capacity:
            del self._records[: self._start]
            self._start = 0

    def newest(self, limit: int, admits: Callable[[R], bool]) -> tuple[list[R], bool]:
        """The newest records that are wanted, oldest first, and whether there were more."""
        found: list[R] = []
        for index in range(len(self._records) - 1, self._start - 1, -1):
            record = self._records[index][1]
            if admits(record):
                if len(found) == limit:
                    return found[::-1], True
                found.append(record)
        return found[::-1], False
