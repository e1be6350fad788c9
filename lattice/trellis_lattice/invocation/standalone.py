"""An invoker for whoever is no host: a command, a script. It hears for itself which hosts die."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trellis_lattice.bus.beats import MembershipWatcher
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.membership import Change, ChangeKind
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.tracing import Tracing

__all__ = ["open_invoker"]


@asynccontextmanager
async def open_invoker(
    connection: Connection, lattice: str, *, tracing: Tracing | None = None
) -> AsyncIterator[LatticeInvoker]:
    """An invoker for the length of the block. A call whose host dies fails at once, not at its deadline."""
    invoker = LatticeInvoker(connection, lattice, tracing=tracing)

    def tell(change: Change) -> None:
        if change.kind in (ChangeKind.GONE, ChangeKind.LEFT, ChangeKind.RESTARTED):
            invoker.host_gone(change.host)

    members = MembershipWatcher(
        connection, lattice, tell, probing=lambda host: invoker.waiting, expected=invoker.executing
    )
    invoker.on_nobody = members.doubt
    try:
        await members.start()
        yield invoker
    finally:
        await members.aclose()
        await invoker.aclose()
