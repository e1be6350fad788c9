"""What a host says of itself: to whoever asks, in its beats, and in the heartbeats that v1 knows.

The law of this file: an inventory is told whole where it fits a message; where it does not, its parts are of one
moment, kept for those who fetch them, bounded in number and soon forgotten.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version

from trellis_host.reports import describe, problems_of
from trellis_host.runtime.admission import Admission
from trellis_host.runtime.engines import EngineLike
from trellis_host.runtime.prepare import Preparer
from trellis_host.runtime.router import Router
from trellis_host.runtime.workloads import Workloads
from trellis_host.settings import HostSettings
from trellis_host.standing import Standing
from trellis_host.state import HostState
from trellis_lattice.bus.beats import HostStatus
from trellis_lattice.bus.connection import Connection
from trellis_lattice.control import parts
from trellis_lattice.control.host import HostInfo, HostInventory, uptime_human
from trellis_lattice.control.parts import InventoryPart, PartRequest
from trellis_lattice.errors import NotFound, Overloaded
from trellis_lattice.events import HostHeartbeat

__all__ = ["VERSION", "SelfDescription"]

VERSION = version("trellis-mesh")
HEARTBEAT_SETTLING = 0.5
"""Seconds after a change until the inventory is published."""
MAX_CALL_COUNTS = 256
"""Pairs of source and target whose calls an inventory tells."""
MAX_KEPT = 4
"""Inventories whose parts are kept."""
KEPT_FOR = 10.0
"""Seconds."""
SHARED_FOR = 1.0
"""Seconds within which whoever asks gets the parts of one inventory, if the host runs the same still."""


@dataclass(frozen=True, slots=True)
class _Kept:
    revision: int
    at: float
    pieces: list[bytes]


class SelfDescription:
    """One host's. `draining` says whether it is about to leave; `clock` in seconds."""

    def __init__(
        self,
        settings: HostSettings,
        state: HostState,
        connection: Connection,
        workloads: Workloads,
        router: Router,
        preparer: Preparer,
        admission: Admission,
        standing: Standing,
        *,
        draining: Callable[[], bool],
        clock: Callable[[], float],
        started: float,
    ) -> None:
        self._settings = settings
        self._state = state
        self._connection = connection
        self._workloads = workloads
        self._router = router
        self._preparer = preparer
        self._admission = admission
        self._standing = standing
        self._draining = draining
        self._clock = clock
        self._started = started
        self._told_problems: dict[str, str] = {}
        self._kept: dict[str, _Kept] = {}

    def info(self) -> HostInfo:
        uptime = int(self._clock() - self._started)
        url = self._connection.url
        return HostInfo(
            id=self._state.host_id,
            friendly_name=self._settings.friendly_name,
            lattice=self._settings.lattice,
            labels=self._state.labels,
            uptime_seconds=uptime,
            uptime_human=uptime_human(uptime),
            version=VERSION,
            ctl_host=url,
            rpc_host=url,
            js_domain=self._settings.nats.jetstream_domain,
        )

    def inventory(self, *, calls: bool = False) -> HostInventory:
        """What this host runs; with `calls` also what its calls and the links of its providers are like now."""
        inventory = describe(
            self._state,
            self._workloads,
            friendly_name=self._settings.friendly_name,
            version=VERSION,
            uptime=int(self._clock() - self._started),
            draining=self._draining(),
            prepared=self._preparer.prepared,
            cut_off=self._standing.told(),
            counts=self._router.counts(MAX_CALL_COUNTS) if calls else None,
        )
        return self._admission.named(inventory)

    def part(self, request: PartRequest) -> InventoryPart:
        """One part of an inventory. Raises `NotFound` if that is not kept any more, or has fewer parts."""
        name = request.snapshot or self._keep()
        kept = self._kept.get(name)
        if kept is None or request.part >= len(kept.pieces):
            raise NotFound(
                f"Host {self._state.host_id} has no part {request.part} of this inventory any more.",
                remedy="Ask for the first part again.",
            )
        return InventoryPart(
            snapshot=name, part=request.part, parts=len(kept.pieces), data=parts.encoded(kept.pieces[request.part])
        )

    def _keep(self) -> str:
        now, revision = self._clock(), self._state.revision
        self._kept = {name: kept for name, kept in self._kept.items() if now - kept.at < KEPT_FOR}
        for name, kept in self._kept.items():
            if kept.revision == revision and now - kept.at < SHARED_FOR:
                return name
        payload = self.inventory(calls=True).to_json()
        pieces = parts.split(payload, parts.room(self._connection.max_payload))
        if len(pieces) > parts.MAX_PARTS or len(payload) > parts.MAX_INVENTORY:
            raise Overloaded(f"Host {self._state.host_id} runs too much to tell: {len(payload)} bytes.", retry_after=60)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        name = uuid.uuid4().hex
        self._kept[name] = _Kept(revision, now, pieces)
        return name

    def status(self, engine: EngineLike, memory: float) -> HostStatus:
        """What the next beat says. Problems of providers come by themselves, and change what is told."""
        problems = problems_of(self._workloads)
        if problems != self._told_problems:
            self._told_problems = problems
            self._state.described_anew()
        stats = engine.stats()
        return HostStatus(self._state.revision, stats.in_flight / stats.max_in_flight, self._draining(), memory)

    async def heartbeats(self, due: asyncio.Event, publish: Callable[[HostHeartbeat], Awaitable[object]]) -> None:
        """The inventory at its interval, and soon after what it says has changed. Runs until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._settings.heartbeat_interval):
                    await due.wait()
                await asyncio.sleep(HEARTBEAT_SETTLING)  # several changes make one heartbeat
            except TimeoutError:
                pass
            heartbeat = HostHeartbeat(**self.inventory().to_data())
            due.clear()
            await publish(heartbeat)
