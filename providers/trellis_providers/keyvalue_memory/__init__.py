"""`wasi:keyvalue` in the memory of one host, for development and tests: gone when the provider stops.

The conformance kit for key-value stores holds it and the durable stores to the same behaviour.
"""

from __future__ import annotations

from itertools import count

from trellis_provider_sdk.keyvalue import KeyResponse, KeyValueBucket, KeyValueProvider, Other, Refused

__all__ = ["KeyValueMemory"]

MAX_BUCKETS = 1024
MAX_BYTES = 256 * 1024 * 1024
_PAGE = 1000
_U64 = 2**64


class KeyValueMemory(KeyValueProvider):
    """Every identifier names a bucket, made when it is first opened."""

    database = "memory"

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    async def bucket(self, identifier: str) -> KeyValueBucket:
        name = identifier or "default"
        if name not in self._buckets and len(self._buckets) >= MAX_BUCKETS:
            raise Refused(Other(f"There are {MAX_BUCKETS} buckets already."))
        return self._buckets.setdefault(name, _Bucket())


class _Bucket:
    """Values with the number of the write that made them, so that pages are stable."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[int, bytes]] = {}
        self._writes = count(1)
        self._size = 0

    async def get(self, key: str, deadline: float) -> bytes | None:
        entry = self._values.get(key)
        return entry[1] if entry is not None else None

    async def set(self, key: str, value: bytes, deadline: float) -> None:
        await self.delete(key, deadline)
        if self._size + len(key) + len(value) > MAX_BYTES:
            raise Refused(Other(f"The bucket would hold more than {MAX_BYTES} bytes."))
        self._size += len(key) + len(value)
        self._values[key] = (next(self._writes), value)

    async def delete(self, key: str, deadline: float) -> None:
        entry = self._values.pop(key, None)
        if entry is not None:
            self._size -= len(key) + len(entry[1])

    async def exists(self, key: str, deadline: float) -> bool:
        return key in self._values

    async def list_keys(self, cursor: int | None, deadline: float) -> KeyResponse:
        # A write puts its key at the end, so the dictionary is in the order of writes.
        found = ((number, key) for key, (number, _) in self._values.items() if number > (cursor or 0))
        page = [entry for entry, _ in zip(found, range(_PAGE + 1), strict=False)]
        more = len(page) > _PAGE
        return KeyResponse([key for _, key in page[:_PAGE]], page[_PAGE - 1][0] if more else None)

    async def increment(self, key: str, delta: int, deadline: float) -> int:
        value = await self.get(key, deadline)
        new = parse_number(key, value) + delta
        if new >= _U64:
            raise Refused(Other(f"{key} would exceed {_U64 - 1}."))
        await self.set(key, b"%d" % new, deadline)
        return new


def parse_number(key: str, value: bytes | None) -> int:
    """A counter's value: decimal digits; 0 if absent. Raises `Refused`."""
    if value is None:
        return 0
    if not value.isdigit() or len(value) > 20 or int(value) >= _U64:
        raise Refused(Other(f"The value of {key} is not a number."))
    return int(value)
