"""Resources that live in one provider instance, and the handles that stand for them elsewhere.

The laws of this file: a handle dies when its owner drops it or when the deadline of the last call that used it
has passed, whichever is first; the table is bounded; an id is never used twice.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from trellis_lattice.errors import NotFound, Overloaded, RequestInvalid
from trellis_lattice.invocation.api import Handle

from .wit_types import Resource

__all__ = ["Resources"]


@dataclass(slots=True)
class _Entry:
    value: Resource
    type: str
    expires: float


class Resources:
    """The live resources of one provider instance.

    `owner`: the instance's id, which handles carry. `limit`: how many may live at one time. `closing` is told
    every resource that leaves the table.
    """

    def __init__(self, owner: str, closing: Callable[[Resource], None], limit: int = 10_000) -> None:
        self.owner = owner
        self._closing = closing
        self._limit = limit
        self._entries: dict[str, _Entry] = {}
        self._expiry: list[tuple[float, str]] = []
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, value: Resource, type: str, now: float, expires: float) -> Handle:
        """A handle for a new resource. Raises `Overloaded` when the table is full of live ones."""
        self.expire(now)
        if len(self._entries) >= self._limit:
            raise Overloaded(
                f"The provider instance {self.owner} holds {self._limit} resources, the most it may.", retry_after=1.0
            )
        self._last_id += 1
        id = str(self._last_id)
        self._entries[id] = _Entry(value, type, expires)
        heapq.heappush(self._expiry, (expires, id))
        return Handle(self.owner, id, type)

    def get(self, handle: Handle, type: str, now: float, expires: float) -> Resource:
        """The resource behind a handle; it lives on at least until `expires`. Raises `NotFound`, `RequestInvalid`."""
        entry = self._entries.get(handle.id) if handle.owner == self.owner else None
        if entry is None or entry.expires < now:
            raise NotFound(
                f"The resource {handle.type} {handle.id} no longer exists in {self.owner}.",
                remedy="It was dropped, or the call that opened it has ended. Open it again.",
            )
        if entry.type != type:
            raise RequestInvalid(f"The resource {handle.id} is a {entry.type}, not a {type}.")
        entry.expires = max(entry.expires, expires)
        return entry.value

    def drop(self, id: str) -> None:
        """Ends a resource. Idempotent: drops may arrive twice or late."""
        entry = self._entries.pop(id, None)
        if entry is not None:
            self._closing(entry.value)

    def expire(self, now: float) -> None:
        """Ends what nobody may use any more."""
        while self._expiry and self._expiry[0][0] < now:
            _, id = heapq.heappop(self._expiry)
            entry = self._entries.get(id)
            if entry is None:
                continue
            if entry.expires < now:
                self.drop(id)
            else:
                heapq.heappush(self._expiry, (entry.expires, id))

    def clear(self) -> None:
        """Ends all, because the instance stops."""
        for id in list(self._entries):
            self.drop(id)
        self._expiry.clear()
