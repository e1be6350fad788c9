"""The reconciler of a lattice, as it runs in every host: all answer the application API, one leads.

Which one leads is decided by a lease in the lattice's own bucket. A host that starts anew under the same id
takes its lease over at once, so that its work is placed again within a fraction of a second.
"""

from __future__ import annotations

import asyncio
import logging
import math

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.lease import Lease
from trellis_lattice.client import LatticeClient
from trellis_lattice.errors import TrellisError
from trellis_wadm.api.server import WadmServer
from trellis_wadm.backoff import Policy
from trellis_wadm.leader import RETURN, TICK, Leader
from trellis_wadm.store import BUCKET

__all__ = ["LEASE", "Reconciler", "ReconcilerService"]

LEASE = "lease.reconciler"
_log = logging.getLogger("trellis.wadm")
_OPEN_TIMEOUT = 5.0
_AGAIN = 1.0
"""Seconds before another try after something failed."""


class Reconciler:
    """Serves and, while it holds the lease, leads. `boot` tells processes of one host apart, the newest is highest."""

    def __init__(
        self,
        connection: Connection,
        lattice: str,
        host_id: str,
        client: LatticeClient | None = None,
        *,
        boot: int = 0,
        policy: Policy | None = None,
        tick: float = TICK,
    ) -> None:
        self._connection = connection
        self._lattice = lattice
        self._host_id = host_id
        self._client = client or LatticeClient(connection, lattice)
        self._boot = boot
        self._policy = policy or Policy()
        self._tick = tick
        self._trust_after = -math.inf
        self._leader: Leader | None = None
        self._lease_moved = asyncio.Event()

    @property
    def leading(self) -> bool:
        """Whether this host leads at the moment."""
        return self._leader is not None and self._leader.leading

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then gives the lease back. Never fails because NATS is away."""
        forget = self._connection.listen(self._connection_changed)
        try:
            while not stop.is_set():
                try:
                    await self._serve(stop)
                except TrellisError as error:
                    _log.warning("The reconciler cannot work yet: %s", error)
                    await _sleep_unless(stop, _AGAIN)
        finally:
            forget()

    def _connection_changed(self, connected: bool) -> None:
        if connected:
            self._trust_after = asyncio.get_running_loop().time() + RETURN

    async def _serve(self, stop: asyncio.Event) -> None:
        deadline = asyncio.get_running_loop().time() + _OPEN_TIMEOUT
        # A renewal that got no answer is not sent again: the next one is as good, and an id would double its size.
        trellis = subjects.trellis_bucket(self._lattice)
        bucket = await open_bucket(self._connection, trellis, deadline=deadline, persist=False)
        lease = Lease(bucket, LEASE, self._host_id, self._boot, on_change=self._lease_changed)
        lease.start()
        server: WadmServer | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                leading = tasks.create_task(self._lead(lease), name="leader")
                hearing = tasks.create_task(self._overhear(lease), name="lease writes")
                manifests = await open_bucket(self._connection, BUCKET, deadline=deadline)
                server = WadmServer(self._connection, self._lattice, manifests)
                await server.start(deadline=deadline)
                await stop.wait()
                leading.cancel()
                hearing.cancel()
        except ExceptionGroup as group:
            if _expected(group):
                raise _first(group) from None
            raise
        finally:
            if server is not None:
                await server.aclose()
            await lease.aclose()

    async def _overhear(self, lease: Lease) -> None:
        """Every write of the lease is a message that all can hear: a lease that is given up is taken at once.

        Who holds it learns nothing from its own writes.
        """
        key = subjects.kv_subject(subjects.trellis_bucket(self._lattice), LEASE)
        while True:
            self._lease_moved.clear()
            if lease.held:
                await self._lease_moved.wait()
                continue
            writes = await self._connection.subscribe(key, lambda message: lease.stirred(message.data))
            try:
                await self._lease_moved.wait()
            finally:
                await writes.unsubscribe()

    async def _lead(self, lease: Lease) -> None:
        """Stands by or leads until cancelled. What fails is begun again after a while."""
        while True:
            self._leader = Leader(
                self._connection,
                self._lattice,
                self._host_id,
                self._client,
                self._policy,
                term=lambda: lease.term if lease.held else None,
                tick=self._tick,
                trust_after=self._trust_after,
            )
            try:
                await self._leader.run()
            except (TrellisError, ExceptionGroup) as error:
                _log.warning("The reconciler begins anew: %s", _first(error), exc_info=not _expected(error))
            await asyncio.sleep(_AGAIN)

    def _lease_changed(self, held: bool) -> None:
        if held:
            _log.info("Host %s leads the reconciliation of lattice %s", self._host_id, self._lattice)
        self._lease_moved.set()
        if self._leader is not None:
            self._leader.lease_changed()


class ReconcilerService:
    """The reconciler as a service of a host, which shares its connection with it."""

    def __init__(self, lattice: str, host_id: str, boot: int, *, policy: Policy | None = None) -> None:
        self._lattice = lattice
        self._host_id = host_id
        self._boot = boot
        self._policy = policy

    async def run(self, connection: Connection, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then gives back what it holds."""
        await Reconciler(connection, self._lattice, self._host_id, boot=self._boot, policy=self._policy).run(stop)


def _first(error: BaseException) -> TrellisError:
    """The first error of ours in a group; anything else in the words of one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, TrellisError) else TrellisError(f"{type(error).__name__}: {error}")


def _expected(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_expected(inner) for inner in error.exceptions)
    return isinstance(error, TrellisError)


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
