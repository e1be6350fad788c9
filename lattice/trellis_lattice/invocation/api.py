"""The seam that every call goes through, in the process and across the lattice.

The laws of this file: a call has one target (a component or provider id), an absolute deadline on the event
loop's clock, and a type that says how its values look elsewhere. Whoever makes a call is an `Invoker`'s
client; whoever answers is a `Service`. The trace context travels as the current OpenTelemetry context.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trellis_lattice.wit.types import FuncType

__all__ = ["Begun", "Call", "EagerService", "Handle", "Invoker", "Service"]


@dataclass(frozen=True, slots=True)
class Handle:
    """A resource that lives elsewhere.

    `owner`: the instance that holds it (its own subject, not the target's queue group), or empty for a
    resource that is only a name; `id`: what the owner calls it; `type`: `ns:pkg/iface.resource`.
    """

    owner: str
    id: str
    type: str


@dataclass(slots=True)
class Call:
    """One invocation: `function` of `interface` at `target`, asked for by `source` over the link `link_name`."""

    target: str
    """Component or provider id."""
    interface: str
    """`ns:pkg/iface[@version]`; empty for a function at the root."""
    function: str
    """WIT name: `get`, `[method]bucket.get`, `[constructor]counter`."""
    args: Sequence[Any]
    type: FuncType
    deadline: float
    """On `asyncio.get_running_loop().time()`."""
    source: str
    """Component or provider id of the caller; `trellis-cli` for the CLI."""
    link_name: str = "default"
    idempotent: bool = False
    """The manifest allows to send it again even if it may have executed."""
    instance: str | None = None
    """Address this one instance (a resource's owner) instead of any of the target."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """What the way the call took adds to its span, e.g. `trellis.route`: `local` or `lattice`."""


class Invoker(Protocol):
    """Makes calls."""

    def invoke(self, call: Call) -> Awaitable[Any]:
        """The result (`None` where the function has none); raises a `TrellisError`, at once or when awaited."""


class Service(Protocol):
    """Answers calls to one target."""

    def function_type(self, interface: str, function: str) -> FuncType:
        """How the function's values look. Raises `NotFound` naming what there is instead."""

    async def serve(self, call: Call) -> Any:
        """Executes; raises a `TrellisError`. Cancelled when the caller is gone or the deadline passed."""


class Begun(Awaitable[Any], Protocol):
    """The rest of a call that was begun and waits. To be awaited once, or closed."""

    def close(self) -> None:
        """Ends it, if nobody has awaited it."""


class EagerService(Service, Protocol):
    """A service that need not be a task's to execute."""

    def begin(self, call: Call) -> Any:
        """As `serve`, but executes before it returns, up to where it waits: the result, or a `Begun` that gives it."""
