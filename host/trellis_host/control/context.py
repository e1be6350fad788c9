"""What the handlers of control operations need of the host, and nothing more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from trellis_host.runtime.registries import Registries
from trellis_host.runtime.shared_state import SharedState
from trellis_host.state import Answer, HostState, Outcome
from trellis_lattice.control import CtlResponse
from trellis_lattice.control.host import HostInfo, HostInventory
from trellis_lattice.control.parts import InventoryPart, PartRequest
from trellis_lattice.errors import Conflict, NotFound
from trellis_lattice.events import Event

__all__ = ["ControlContext", "told"]


class ControlContext(Protocol):
    """The host, as its control operations see it."""

    @property
    def state(self) -> HostState: ...

    @property
    def shared(self) -> SharedState: ...

    @property
    def registries(self) -> Registries: ...

    def apply(self, outcome: Outcome) -> Answer:
        """Starts the effects of an outcome, in order; returns its answer."""

    async def settled(self, workload: str) -> None:
        """Waits until the effects applied to a workload are done, or as long as a client waits for an answer."""

    async def publish(self, event: Event) -> object: ...

    def info(self) -> HostInfo: ...

    def inventory(self, *, calls: bool = False) -> HostInventory: ...

    def inventory_part(self, request: PartRequest) -> InventoryPart:
        """A part of an inventory that is larger than a message. Raises `NotFound`, `Overloaded`."""

    def prepare(self, image: str) -> None:
        """Fetches and compiles an image in the background. Raises `Overloaded`."""

    def would_take(self, constraints: Mapping[str, str]) -> bool:
        """Whether the labels satisfy the constraints of an auction, and the host takes new work."""

    def request_stop(self, *, grace: float | None) -> None:
        """Begins to stop the host; `grace` in seconds for what is under way."""

    def stays(self, workloads: Collection[str]) -> None:
        """Nobody will move these workloads: a stop does not wait for them."""

    def deadline(self) -> float:
        """Until when an operation on shared state may take (loop time)."""


def told(answer: Answer) -> CtlResponse[Any]:
    """The reply that carries an answer of the state machine; its refusals are known texts of v1."""
    if answer.success:
        return CtlResponse.done(answer.message)
    error = Conflict if "already" in answer.message else NotFound
    return CtlResponse.failed(error(answer.message))
