"""Resources that are held here and used from elsewhere. Pure: time and ids are given.

The laws of this file: a resource that leaves becomes a `Handle` of the instance it belongs to; all resources
of one instance die together, when the last handle is dropped or at the deadline of the call that made them;
whatever dies is handed to `released` exactly once; a handle to what is dead is `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from trellis_lattice.errors import RequestInvalid, Unavailable
from trellis_lattice.invocation.api import Handle, Service
from trellis_lattice.wit.types import ResourceId

__all__ = ["HeldInstance", "ResourceTable"]

MAX_RESOURCES = 10_000
"""Most resources one server holds for others."""


@dataclass(slots=True)
class HeldInstance:
    """What lives behind one instance's subject. `expires` is on the event loop's clock."""

    name: str
    target: str
    service: Service
    expires: float
    values: dict[str, tuple[Any, str]] = field(default_factory=dict)
    """By id: the resource, and its type."""


class ResourceTable:
    """The instances of one server that others hold handles of.

    `server`: unique for the life of the process, first part of the names of its instances. `released(value)`
    is called for every resource that dies here.
    """

    def __init__(
        self, server: str, released: Callable[[Any], None] = lambda value: None, limit: int = MAX_RESOURCES
    ) -> None:
        self.server = server
        self._released = released
        self._limit = limit
        self._instances: dict[str, HeldInstance] = {}
        self._serial = 0
        self._size = 0

    def __len__(self) -> int:
        """How many resources are held."""
        return self._size

    def open(self, target: str, service: Service, expires: float) -> HeldInstance:
        """A new instance without resources."""
        self._serial += 1
        instance = HeldInstance(f"{self.server}.{self._serial}", target, service, expires)
        self._instances[instance.name] = instance
        return instance

    def find(self, name: str) -> HeldInstance:
        """Raises `Unavailable` if it is dead, or was never here."""
        instance = self._instances.get(name)
        if instance is None:
            raise _gone(name)
        return instance

    def hold(self, instance: HeldInstance, value: Any, resource: ResourceId) -> Handle:
        """The handle that `value` goes by elsewhere. Raises `RequestInvalid` when too many are held."""
        if self._size >= self._limit:
            raise RequestInvalid(
                f"{instance.target!r} would hold more than {self._limit} resources for others.",
                remedy="Drop resources that are no longer used.",
                limit=self._limit,
            )
        self._serial += 1
        key = str(self._serial)
        instance.values[key] = (value, str(resource))
        self._size += 1
        return Handle(instance.name, key, str(resource))

    def value(self, handle: Handle, owned: bool) -> Any:
        """The resource behind a handle of this server; with `owned` it leaves the table, to the callee.

        A handle of another owner, or of a mere name, is returned as it is.
        """
        if handle.owner.partition(".")[0] != self.server:
            return handle
        instance = self.find(handle.owner)
        held = instance.values.get(handle.id)
        if held is None or held[1] != handle.type:
            raise _gone(f"{handle.type} {handle.id} of {handle.owner}")
        if owned:
            del instance.values[handle.id]
            self._size -= 1
            self.close_if_empty(instance)
        return held[0]

    def drop(self, name: str, ids: Iterable[str]) -> None:
        """Handles that their holder dropped. Unknown ones are ignored: they died before."""
        instance = self._instances.get(name)
        if instance is None:
            return
        for key in ids:
            held = instance.values.pop(key, None)
            if held is not None:
                self._size -= 1
                self._released(held[0])
        self.close_if_empty(instance)

    def close_if_empty(self, instance: HeldInstance) -> None:
        """Forgets an instance that nobody holds a handle of."""
        if not instance.values:
            self._instances.pop(instance.name, None)

    def holds(self, target: str) -> bool:
        """Whether others hold resources of a target."""
        return any(each.target == target and each.values for each in self._instances.values())

    def expire(self, now: float) -> None:
        """Ends the instances whose time is over."""
        for instance in [each for each in self._instances.values() if each.expires <= now]:
            self._close(instance)

    def close_target(self, target: str) -> None:
        """Ends the instances of a target that is no longer served."""
        for instance in [each for each in self._instances.values() if each.target == target]:
            self._close(instance)

    def close(self) -> None:
        """Ends all instances."""
        for instance in list(self._instances.values()):
            self._close(instance)

    def _close(self, instance: HeldInstance) -> None:
        del self._instances[instance.name]
        self._size -= len(instance.values)
        values, instance.values = instance.values, {}
        for value, _ in values.values():
            self._released(value)


def _gone(what: str) -> Unavailable:
    return Unavailable(
        f"The owner of a resource is gone: {what}.",
        remedy="Make the resource again.",
        reason="owner-gone",
    )
