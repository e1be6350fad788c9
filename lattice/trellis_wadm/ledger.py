"""What must survive a change of the leader: which links and configs applications brought, which hosts there were, and
which starts failed for good.

One record in the lattice's own bucket. It is written before anything it names is made, so that nothing is made
that nobody remembers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from trellis_lattice.bus.kv import KeyValueBucket
from trellis_wadm.planner.world import LinkKey, Owned
from trellis_wadm.refusals import Refusal, decode_refusals, encode_refusals

__all__ = ["KEY", "Ledger", "LedgerFile"]

KEY = "wadm.owned"


@dataclass(frozen=True, slots=True)
class Ledger:
    """`hosts` are those that were alive when it was last written."""

    owned: Owned = field(default_factory=Owned)
    hosts: frozenset[str] = frozenset()
    refusals: tuple[Refusal, ...] = ()
    """By key, so that equal ledgers are equal."""

    def encode(self) -> bytes:
        record = {
            "links": [list(key) for key in sorted(self.owned.links)],
            "configs": sorted(self.owned.configs),
            "hosts": sorted(self.hosts),
            "refusals": encode_refusals(self.refusals),
        }
        return json.dumps(record, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Ledger:
        """What can be read of a record; an unreadable one is empty."""
        try:
            record = json.loads(payload)
        except ValueError:
            return cls()
        if not isinstance(record, dict):
            return cls()
        links = frozenset(key for item in _list(record.get("links")) if (key := _link_key(item)) is not None)
        owned = Owned(links, frozenset(_texts(record.get("configs"))))
        return cls(owned, frozenset(_texts(record.get("hosts"))), decode_refusals(record.get("refusals")))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> Iterable[str]:
    return [item for item in _list(value) if isinstance(item, str)]


def _link_key(item: object) -> LinkKey | None:
    parts = list(_texts(item))
    return (parts[0], parts[1], parts[2], parts[3], parts[4]) if len(parts) == 5 else None


class LedgerFile:
    """The record in its bucket. Deadlines are absolute, on the event loop's clock."""

    def __init__(self, bucket: KeyValueBucket) -> None:
        self._bucket = bucket
        self._revision = 0

    async def read(self, *, deadline: float) -> Ledger:
        """The record as it is now; every leader reads it first."""
        entry = await self._bucket.get(KEY, deadline=deadline)
        self._revision = entry.revision if entry is not None else 0
        return Ledger.decode(entry.value) if entry is not None else Ledger()

    async def write(self, ledger: Ledger, *, deadline: float) -> None:
        """Replaces what was read or written last. Raises `Conflict` if another leader has written since."""
        self._revision = await self._bucket.put(KEY, ledger.encode(), deadline=deadline, expected=self._revision)
