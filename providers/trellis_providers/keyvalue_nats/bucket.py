"""One JetStream bucket as a `wasi:keyvalue` store.

The laws of this file: whether NATS can be reached is not the component's affair, so that comes out as
`Unavailable`; what the bucket refuses is an answer to the component; nothing is written on stale knowledge.
"""

from __future__ import annotations

import asyncio
from random import random
from weakref import WeakValueDictionary

from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv import Change
from trellis_lattice.bus.kv_jetstream import JetStreamBucket
from trellis_lattice.bus.kv_watch import JetStreamWatch
from trellis_lattice.errors import Conflict, NotFound, RequestInvalid, Unavailable
from trellis_provider_sdk.keyvalue import KeyResponse, NoSuchStore, Other, Refused

from .keys import MAX_ENCODED, decode_key, encode_key

__all__ = ["NatsBucket"]

_PAGE = 1000
_ATTEMPTS = 64
"""How often an increment is tried while other hosts change the same key."""
_LONGEST_PAUSE = 0.05
_U64 = 2**64


class NatsBucket:
    """See `KeyValueBucket` of the SDK. `direct`: reads may go past JetStream's API, as the bucket has one replica."""

    def __init__(self, jetstream: JetStream, name: str, *, direct: bool) -> None:
        self._jetstream = jetstream
        self._name = name
        self._bucket = JetStreamBucket(jetstream, name, direct=direct)
        self._counting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.gone = False
        """The bucket was deleted behind our back; open it anew."""

    async def get(self, key: str, deadline: float) -> bytes | None:
        entry = await self._newest(_encoded(key), deadline)
        return entry[0] if entry is not None else None

    async def exists(self, key: str, deadline: float) -> bool:
        return await self._newest(_encoded(key), deadline) is not None

    async def set(self, key: str, value: bytes, deadline: float) -> None:
        await self._put(_encoded(key), value, deadline, None)

    async def delete(self, key: str, deadline: float) -> None:
        with _Translated(self):
            await self._bucket.delete(_encoded(key), deadline=deadline)

    async def list_keys(self, cursor: int | None, deadline: float) -> KeyResponse:
        """Pages are in order of the last write; the cursor is the revision of the last key listed."""
        found: dict[str, int] = {}

        def collect(change: Change) -> None:
            if change.value is None:
                found.pop(change.key, None)
            elif change.revision > (cursor or 0):
                found[change.key] = change.revision

        with _Translated(self):
            watch = await JetStreamWatch.start(
                self._jetstream, self._name, collect, deadline=deadline, headers_only=True
            )
            try:
                await watch.synced(deadline=deadline)
            finally:
                await watch.aclose()
        page = sorted(found.items(), key=lambda item: item[1])[: _PAGE + 1]
        keys = [decoded for key, _ in page[:_PAGE] if (decoded := decode_key(key)) is not None]
        return KeyResponse(keys, page[_PAGE - 1][1] if len(page) > _PAGE else None)

    async def increment(self, key: str, delta: int, deadline: float) -> int:
        """Compare and set; clients of this host take turns, so that they do not contend among themselves."""
        encoded = _encoded(key)
        lock = self._counting.setdefault(encoded, asyncio.Lock())
        async with lock:
            for attempt in range(_ATTEMPTS):
                entry = await self._newest(encoded, deadline)
                value, revision = entry if entry is not None else (b"0", 0)
                new = _number(key, value) + delta
                if new >= _U64:
                    raise Refused(Other(f"{key} would exceed {_U64 - 1}."))
                try:
                    await self._put(encoded, b"%d" % new, deadline, revision)
                except Conflict:
                    await asyncio.sleep(random() * min(_LONGEST_PAUSE, 0.001 * 2**attempt))
                else:
                    return new
        raise Refused(Other(f"{key} was changed by others {_ATTEMPTS} times while it was being incremented."))

    async def _newest(self, encoded: str, deadline: float) -> tuple[bytes, int] | None:
        with _Translated(self):
            entry = await self._bucket.get(encoded, deadline=deadline)
        return (entry.value, entry.revision) if entry is not None else None

    async def _put(self, encoded: str, value: bytes, deadline: float, expected: int | None) -> None:
        with _Translated(self):
            await self._bucket.put(encoded, value, deadline=deadline, expected=expected)


class _Translated:
    """Errors of the bus as what they mean for a component. `Conflict` and lost connections pass."""

    def __init__(self, bucket: NatsBucket) -> None:
        self._bucket = bucket

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, RequestInvalid):
            raise Refused(Other(str(error))) from error
        if isinstance(error, NotFound) or (
            isinstance(error, Unavailable) and error.fields.get("reason") == "no-jetstream"
        ):
            self._bucket.gone = True
            if isinstance(error, NotFound):
                raise Refused(NoSuchStore()) from error


def _encoded(key: str) -> str:
    encoded = encode_key(key)
    if len(encoded) > MAX_ENCODED:
        raise Refused(Other(f"The key is {len(encoded)} characters long as NATS stores it; the most is {MAX_ENCODED}."))
    return encoded


def _number(key: str, value: bytes) -> int:
    """A counter's value: decimal digits, as other clients write them."""
    if not value.isdigit() or len(value) > 20 or int(value) >= _U64:
        raise Refused(Other(f"The value of {key} is not a number."))
    return int(value)
