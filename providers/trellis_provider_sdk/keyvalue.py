"""`wasi:keyvalue` 0.2.0-draft as Python: its types, and a base that needs only a bucket to become a provider.

A store implements `KeyValueBucket` and one method, `bucket`; the base answers `store`, `atomics` and `batch`,
turns refusals into WIT errors, and gives each operation its database span.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias, TypeVar

from trellis_lattice.tracing import SpanKind
from trellis_lattice.wit.values import Err, Ok

from .declare import function, method, provides
from .provider import Provider, current_call
from .wit_types import NamedResource, VariantCase, u64

__all__ = [
    "MAX_BATCH",
    "AccessDenied",
    "Bucket",
    "KeyResponse",
    "KeyValueBucket",
    "KeyValueProvider",
    "NoSuchStore",
    "Other",
    "Refused",
    "StoreError",
]

T = TypeVar("T")
R = TypeVar("R")

STORE = "wasi:keyvalue/store@0.2.0-draft"
ATOMICS = "wasi:keyvalue/atomics@0.2.0-draft"
BATCH = "wasi:keyvalue/batch@0.2.0-draft"

MAX_BATCH = 10_000
"""Most keys of one batch call."""
_BATCH_AT_ONCE = 64


class Bucket(NamedResource, interface="wasi:keyvalue/store", name="bucket"):
    """A bucket, by the identifier that it was opened with."""


class NoSuchStore(VariantCase):
    """There is no bucket of that name."""


class AccessDenied(VariantCase):
    """The link does not allow that bucket."""


@dataclass(frozen=True)
class Other(VariantCase):
    """Anything else, in words."""

    value: str


StoreError: TypeAlias = NoSuchStore | AccessDenied | Other


@dataclass(frozen=True)
class KeyResponse:
    """One page of keys; `cursor` asks for the next one, None: that was all."""

    keys: list[str]
    cursor: u64 | None


class Refused(Exception):
    """The store says no; the component gets `error` as an answer."""

    def __init__(self, error: StoreError) -> None:
        super().__init__(repr(error))
        self.error: StoreError = error


class KeyValueBucket(Protocol):
    """What a store must do. Deadlines are on the event loop's clock; refusals are `Refused`."""

    async def get(self, key: str, deadline: float) -> bytes | None: ...

    async def set(self, key: str, value: bytes, deadline: float) -> None: ...

    async def delete(self, key: str, deadline: float) -> None:
        """An absent key is fine."""

    async def exists(self, key: str, deadline: float) -> bool: ...

    async def list_keys(self, cursor: int | None, deadline: float) -> KeyResponse:
        """A key that is there all the while is listed; one that is written meanwhile may be listed again."""

    async def increment(self, key: str, delta: int, deadline: float) -> int:
        """Adds to a decimal number (0 if absent) at once for all clients; the new value, at most 2⁶⁴ - 1."""


@provides(STORE, ATOMICS, BATCH)
class KeyValueProvider(Provider):
    """Base of key-value providers. `database`: the `db.system.name` of its spans."""

    database: ClassVar[str] = "other_sql"

    @abstractmethod
    async def bucket(self, identifier: str) -> KeyValueBucket:
        """The bucket that a component means by `identifier` over the current call's link. Raises `Refused`."""

    @function(interface=STORE)
    async def open(self, identifier: str) -> Ok[Bucket] | Err[StoreError]:
        try:
            await self.bucket(identifier)
        except Refused as refused:
            return Err(refused.error)
        return Ok(Bucket(identifier))

    @method(Bucket)
    async def get(self, bucket: Bucket, key: str) -> Ok[bytes | None] | Err[StoreError]:
        return await self._do("get", bucket, lambda store, deadline: store.get(key, deadline))

    @method(Bucket)
    async def set(self, bucket: Bucket, key: str, value: bytes) -> Ok[None] | Err[StoreError]:
        return await self._do("set", bucket, lambda store, deadline: store.set(key, value, deadline))

    @method(Bucket)
    async def delete(self, bucket: Bucket, key: str) -> Ok[None] | Err[StoreError]:
        return await self._do("delete", bucket, lambda store, deadline: store.delete(key, deadline))

    @method(Bucket)
    async def exists(self, bucket: Bucket, key: str) -> Ok[bool] | Err[StoreError]:
        return await self._do("exists", bucket, lambda store, deadline: store.exists(key, deadline))

    @method(Bucket)
    async def list_keys(self, bucket: Bucket, cursor: u64 | None) -> Ok[KeyResponse] | Err[StoreError]:
        return await self._do("list-keys", bucket, lambda store, deadline: store.list_keys(cursor, deadline))

    @function(interface=ATOMICS)
    async def increment(self, bucket: Bucket, key: str, delta: u64) -> Ok[u64] | Err[StoreError]:
        return await self._do("increment", bucket, lambda store, deadline: store.increment(key, delta, deadline))

    @function(interface=BATCH)
    async def get_many(self, bucket: Bucket, keys: list[str]) -> Ok[list[tuple[str, bytes] | None]] | Err[StoreError]:
        async def all_of(store: KeyValueBucket, deadline: float) -> list[tuple[str, bytes] | None]:
            async def one(key: str) -> tuple[str, bytes] | None:
                value = await store.get(key, deadline)
                return None if value is None else (key, value)

            return await _each(one, _few(keys))

        return await self._do("get-many", bucket, all_of)

    @function(interface=BATCH)
    async def set_many(self, bucket: Bucket, key_values: list[tuple[str, bytes]]) -> Ok[None] | Err[StoreError]:
        async def all_of(store: KeyValueBucket, deadline: float) -> None:
            # The last of several values for one key is the one that stays.
            pairs = dict(_few(key_values))
            await _each(lambda pair: store.set(*pair, deadline), list(pairs.items()))

        return await self._do("set-many", bucket, all_of)

    @function(interface=BATCH)
    async def delete_many(self, bucket: Bucket, keys: list[str]) -> Ok[None] | Err[StoreError]:
        async def all_of(store: KeyValueBucket, deadline: float) -> None:
            await _each(lambda key: store.delete(key, deadline), _few(keys))

        return await self._do("delete-many", bucket, all_of)

    async def _do(
        self, operation: str, bucket: Bucket, act: Callable[[KeyValueBucket, float], Awaitable[T]]
    ) -> Ok[T] | Err[StoreError]:
        """One operation with its database span (OpenTelemetry semantic conventions for databases)."""
        attributes = {
            "db.system.name": self.database,
            "db.operation.name": operation,
            "db.namespace": bucket.name or "default",
        }
        with self.ctx.tracing.span(f"{operation} {bucket.name or 'default'}", SpanKind.CLIENT, attributes) as span:
            try:
                store = await self.bucket(bucket.name)
                return Ok(await act(store, current_call().deadline))
            except Refused as refused:
                span.fail(repr(refused.error))
                return Err(refused.error)


def _few(items: list[T]) -> list[T]:
    if len(items) > MAX_BATCH:
        raise Refused(Other(f"{len(items)} keys in one call; the most is {MAX_BATCH}."))
    return items


async def _each(operation: Callable[[T], Awaitable[R]], items: list[T]) -> list[R]:
    """All results in order, some of the operations at a time; the first failure ends the rest."""
    gate = asyncio.Semaphore(_BATCH_AT_ONCE)

    async def one(item: T) -> R:
        async with gate:
            return await operation(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
