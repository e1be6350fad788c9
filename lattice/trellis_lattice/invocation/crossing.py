"""What becomes of streams and resources when the values of one call cross the lattice."""

from __future__ import annotations

from typing import Any

from trellis_lattice.errors import TrellisError
from trellis_lattice.invocation.api import Handle, Service
from trellis_lattice.invocation.resources import HeldInstance, ResourceTable
from trellis_lattice.invocation.streams import Incoming, Outgoing, StreamHub
from trellis_lattice.wit.types import ResourceId

__all__ = ["CallCrossing", "ServedCrossing"]


class CallCrossing:
    """The caller's side: streams by credit until the call's deadline, resources only as handles."""

    __slots__ = ("_deadline", "_hub", "incoming", "outgoing")

    def __init__(self, hub: StreamHub, deadline: float) -> None:
        self._hub = hub
        self._deadline = deadline
        self.outgoing: list[Outgoing] = []
        self.incoming: list[Incoming] = []

    def lower_resource(self, value: Any, resource: ResourceId, owned: bool) -> Handle:
        if isinstance(value, Handle):
            return value
        raise ValueError(f"a handle of {resource}; resources of the caller do not cross the lattice")

    def lift_resource(self, handle: Handle, owned: bool) -> Any:
        return handle

    def lower_stream(self, stream: Any) -> Any:
        return self._hub.lower(stream, self._deadline, self.outgoing.append)

    def lift_stream(self, wire: Any) -> Any:
        return self._hub.lift(wire, self._deadline, self.incoming.append)

    def close_outgoing(self) -> None:
        """Stops sending what the other side will not read any more."""
        for outgoing in self.outgoing:
            outgoing.close()

    async def close_incoming(self) -> None:
        """Stops reading; the writers are told."""
        for incoming in self.incoming:
            await incoming.aclose()

    async def sent(self) -> None:
        """Waits until the streams of this side have gone out, or were cancelled."""
        for outgoing in self.outgoing:
            await outgoing.wait_done()


class ServedCrossing(CallCrossing):
    """The callee's side: resources of the service become handles of the instance that the call is served by."""

    __slots__ = ("_instance", "_resources", "_service", "_target")

    def __init__(
        self,
        hub: StreamHub,
        deadline: float,
        resources: ResourceTable,
        target: str,
        service: Service,
        instance: HeldInstance | None,
    ) -> None:
        super().__init__(hub, deadline)
        self._resources = resources
        self._target = target
        self._service = service
        self._instance = instance

    def lower_resource(self, value: Any, resource: ResourceId, owned: bool) -> Handle:
        if isinstance(value, Handle):
            return value
        if value is None or isinstance(value, str | bytes | int | float | dict | list | tuple | TrellisError):
            raise ValueError(f"a resource {resource}")
        if self._instance is None:
            self._instance = self._resources.open(self._target, self._service, self._deadline)
        return self._resources.hold(self._instance, value, resource)

    def lift_resource(self, handle: Handle, owned: bool) -> Any:
        return self._resources.value(handle, owned)
