"""One run of a host in the simulation: the real state machine, the real membership and lease rules, the real core."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from trellis_lattice.bus.beats import INTERVAL
from trellis_lattice.bus.membership import Beat
from trellis_lattice.events import Event, HostStarted, HostStopped, LatticeEvent
from trellis_sim.bus import Node
from trellis_sim.scheduler import Scheduler
from trellis_sim.universe import Universe
from trellis_sim.workloads import Workloads

__all__ = ["Process"]

_SHORTEST = 0.05
"""Seconds between two beats at least."""


class Process(Node):
    """A host from its start to its end. A restart of the same id is another process with a higher boot."""

    def __init__(
        self, universe: Universe, id: str, labels: Mapping[str, str], boot: int, offset: float, drift: float
    ) -> None:
        """Its clock shows `offset` seconds at time 0 and gains `drift` seconds per second."""
        self.universe = universe
        self.id = id
        self.labels = dict(labels)
        self.boot = boot
        self.alive = True
        self.cut_at = 0.0
        self._away: set[str] = set() if universe.bus.up else {"nats"}
        """Why its connection does not work."""
        self.side = 0
        self.started = universe.clock.now
        self.draining = False
        self._offset = offset
        self._rate = 1.0 + drift
        self._frozen: list[tuple[Callable[..., object], tuple[Any, ...]]] | None = None
        self._sequence = 0
        self._beaten = -1.0
        self._beat_due = 0
        self.workloads = Workloads(self, labels)
        self.scheduler = Scheduler(self)

    # time ---------------------------------------------------------------------------------------------

    def now(self) -> float:
        """What its own clock says."""
        return self.universe.clock.now * self._rate + self._offset

    def at(self, time: float, act: Callable[..., object], *args: Any) -> None:
        """Calls `act` when its own clock says `time`."""
        self.universe.clock.at((time - self._offset) / self._rate, self.run, act, *args)

    def after(self, seconds: float, act: Callable[..., object], *args: Any) -> None:
        self.universe.clock.after(seconds, self.run, act, *args)

    def run(self, act: Callable[..., object], *args: Any) -> None:
        """Calls `act` unless the process is dead; when it goes on if it is frozen."""
        if not self.alive:
            return
        if self._frozen is not None:
            self._frozen.append((act, args))
            return
        act(*args)

    # life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        universe = self.universe
        universe.bus.nodes[self.id] = self
        universe.trace.add(universe.clock.now, self.id, "starts", f"boot {self.boot}")
        self.publish(HostStarted(friendly_name=self.id, labels=self.labels, version="0"))
        self.beat()
        self.scheduler.start()

    def kill(self) -> None:
        """As SIGKILL does: the kernel closes its connections, nobody is told anything else."""
        self.alive = False
        universe = self.universe
        universe.trace.add(universe.clock.now, self.id, "is killed")
        if universe.bus.nodes.get(self.id) is self:
            del universe.bus.nodes[self.id]
        universe.bus.store.forget(self)

    def leave(self) -> None:
        """A clean stop: the lease is given back, goodbye is said."""
        universe = self.universe
        universe.trace.add(universe.clock.now, self.id, "leaves")
        self.scheduler.give_up()
        self.publish(HostStopped(labels=self.labels))
        self._send_beat(leaving=True)
        universe.clock.after(0.02, self.kill)

    def freeze(self) -> None:
        """As SIGSTOP does."""
        if self._frozen is None:
            self._frozen = []
            self.universe.trace.add(self.universe.clock.now, self.id, "is frozen")

    @property
    def frozen(self) -> bool:
        return self._frozen is not None

    def thaw(self) -> None:
        waiting, self._frozen = self._frozen or [], None
        self.universe.trace.add(self.universe.clock.now, self.id, "goes on")
        for act, args in waiting:
            self.run(act, *args)

    @property
    def attached(self) -> bool:
        return not self._away

    def cut(self) -> None:
        """Its connection is dead; it finds out later, as NATS does."""
        if not self._away:
            self.cut_at = self.universe.clock.now
            self.after(self.universe.random.uniform(1.0, 3.0), self._notice, self.cut_at)
        self._away.add("cut")
        self.universe.trace.add(self.universe.clock.now, self.id, "is cut off")

    def _notice(self, cut_at: float) -> None:
        if self._away and self.cut_at == cut_at:
            self.scheduler.connection_lost()

    def heal(self) -> None:
        """Its connection could work again."""
        self._back("cut")

    def nats_gone(self) -> None:
        """NATS ended: whoever was connected notices at once."""
        self._away.add("nats")
        self.cut_at = -math.inf
        self.run(self.scheduler.connection_lost)

    def nats_back(self) -> None:
        if self.universe.bus.up:
            self._back("nats")

    def _back(self, reason: str) -> None:
        if reason in self._away:
            self._away.discard(reason)
            if not self._away:
                self.universe.trace.add(self.universe.clock.now, self.id, "is connected again")
                self.universe.bus.store.resync(self)
                self.run(self._connected)

    def _connected(self) -> None:
        self.scheduler.connection_back()
        self.beat()

    # speaking -----------------------------------------------------------------------------------------

    def publish(self, event: Event) -> None:
        """An event of the lattice."""
        heard = LatticeEvent(event.kind, self.id, "", "", {}, event)
        self.universe.bus.broadcast(self, _event_heard, heard)

    def changed(self) -> None:
        """What it runs changed: the next beat goes out at once."""
        clock = self.universe.clock
        self._beat_due += 1
        self.after(max(0.0, self._beaten + _SHORTEST - clock.now), self.beat, self._beat_due)

    def beat(self, due: int | None = None) -> None:
        if due is not None and due != self._beat_due:
            return
        self._send_beat()
        self._beaten = self.universe.clock.now
        self._beat_due += 1
        self.after(INTERVAL, self.beat, self._beat_due)

    def _send_beat(self, *, leaving: bool = False) -> None:
        beat = self.own_beat(leaving=leaving)
        self.universe.bus.broadcast(self, _beat_heard, beat)

    def own_beat(self, *, leaving: bool = False) -> Beat:
        self._sequence += 1
        revision = self.workloads.revision
        return Beat(self.id, self.boot, self._sequence, revision, 0.0, self.draining, leaving=leaving)


def _event_heard(node: Any) -> Callable[..., object]:
    heard: Callable[..., object] = node.scheduler.event
    return heard


def _beat_heard(node: Any) -> Callable[..., object]:
    heard: Callable[..., object] = node.scheduler.beat
    return heard
