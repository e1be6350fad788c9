"""The simulated bus and its key-value store: messages that are late, lost, doubled and out of order.

The laws of this file: a process whose connection is cut hears nothing and is heard by nobody, but NATS goes on
believing in it for a while; one that died is known to be gone at once; the store is on one side of a split and is
always right; a watch shows every difference in the end, in order, and again after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from trellis_sim.clock import Clock

__all__ = ["ABSENT", "LOST", "Bus", "Node", "Store", "Weather"]

STALE_AFTER = 3.0
"""Seconds until NATS notices that a connection is dead (`ping_interval: 1s`, `ping_max: 2`)."""


class _Outcome:
    """Why a request has no answer."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT = _Outcome("nobody listens")
LOST = _Outcome("no answer in time")


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad the network is: shares from 0 to 1, seconds."""

    loss: float = 0.0
    duplication: float = 0.0
    reorder: float = 0.0
    """Share of messages that are much later than others."""
    delay: float = 0.001
    """The usual time of a message; it varies from half to twice of it."""
    late: float = 0.4
    """How late the latest is."""


class Node(Protocol):
    """A process on the bus."""

    id: str
    alive: bool
    cut_at: float
    side: int
    """Which part of a split network it is in; the store is in part 0."""

    @property
    def attached(self) -> bool:
        """Whether its connection works; if not, since `cut_at`."""

    def run(self, act: Callable[..., object], *args: Any) -> None:
        """Calls `act` unless the process is dead; later if it is frozen."""


class Bus:
    """Carries messages between nodes."""

    def __init__(self, clock: Clock, random: Random, weather: Weather) -> None:
        self.weather = weather
        self.up = True
        self.nodes: dict[str, Node] = {}
        """Those whose subscriptions exist, or are believed to."""
        self.store = Store(self)
        self.clock = clock
        self._random = random
        self.messages = 0

    def reaches(self, one: Node, other: Node) -> bool:
        return self.up and one.attached and other.attached and one.side == other.side

    def delay(self) -> float:
        weather, random = self.weather, self._random
        if weather.reorder and random.random() < weather.reorder:
            return random.random() * weather.late
        return weather.delay * (0.5 + 1.5 * random.random())

    def lost(self) -> bool:
        return bool(self.weather.loss) and self._random.random() < self.weather.loss

    def doubled(self) -> bool:
        return bool(self.weather.duplication) and self._random.random() < self.weather.duplication

    def broadcast(self, source: Node, hear: Callable[[Node], Callable[..., object]], *args: Any) -> None:
        """A message to every node, the source included. `hear(node)` takes it there."""
        self.messages += 1
        if not (self.up and source.attached):
            return
        usual = self.clock.now + self.delay()
        receivers: list[Node] = []
        weather = self.weather
        if weather.loss or weather.duplication or weather.reorder:
            for node in self.nodes.values():
                if self.lost():
                    continue
                receivers.append(node)
                if self.doubled():
                    self.clock.at(self.clock.now + self.delay(), self._hear, [node], source.side, hear, args)
                if weather.reorder and self._random.random() < weather.reorder:
                    receivers.pop()
                    self.clock.at(self.clock.now + self.delay(), self._hear, [node], source.side, hear, args)
        else:
            receivers.extend(self.nodes.values())
        self.clock.at(usual, self._hear, receivers, source.side, hear, args)

    def _hear(
        self, nodes: list[Node], side: int, hear: Callable[[Node], Callable[..., object]], args: tuple[Any, ...]
    ) -> None:
        for node in nodes:
            if self.up and node.attached and node.side == side:
                node.run(hear(node), *args)

    def request(
        self,
        source: Node,
        target: str,
        handle: Callable[[Node, Callable[[object], None]], None],
        done: Callable[[object], None],
        timeout: float,
    ) -> None:
        """Asks `target`; `handle(node, reply)` answers there. `done` hears the answer, `ABSENT` or `LOST`, once."""
        self.messages += 1
        open_ = [True]

        def finish(result: object) -> None:
            if open_:
                open_.clear()
                source.run(done, result)

        clock = self.clock
        clock.at(clock.now + timeout, finish, LOST)
        if not (self.up and source.attached) or self.lost():
            return

        def reply(result: object) -> None:
            node = self.nodes.get(target)
            if node is not None and self.reaches(node, source) and not self.lost():
                clock.at(clock.now + self.delay(), self._arrive, source, finish, result)

        def arrive() -> None:
            node = self.nodes.get(target)
            if node is None or node.side != source.side or not self._believed(node):
                if self.reaches(source, source):
                    clock.at(clock.now + self.delay(), finish, ABSENT)
            elif self.reaches(source, node):
                node.run(handle, node, reply)

        clock.at(clock.now + self.delay(), arrive)
        if self.doubled():
            clock.at(clock.now + self.delay(), arrive)

    def _arrive(self, source: Node, finish: Callable[[object], None], result: object) -> None:
        if self.up and source.attached:
            finish(result)

    def _believed(self, node: Node) -> bool:
        return node.attached or self.clock.now < node.cut_at + STALE_AFTER

    def call_store(
        self, source: Node, operation: Callable[[], object], done: Callable[[object], None], timeout: float
    ) -> None:
        """Runs an operation where the store is; `done` hears its result, or `LOST`."""
        self.messages += 1
        open_ = [True]

        def finish(result: object) -> None:
            if open_:
                open_.clear()
                source.run(done, result)

        clock = self.clock
        clock.at(clock.now + timeout, finish, LOST)

        def arrive() -> None:
            if not self._has_store(source):
                return
            result = operation()
            if not self.lost():
                clock.at(clock.now + self.delay(), back, result)

        def back(result: object) -> None:
            if self._has_store(source):
                finish(result)

        if self._has_store(source) and not self.lost():
            clock.at(clock.now + self.delay(), arrive)

    def _has_store(self, node: Node) -> bool:
        return self.up and node.attached and node.side == 0


@dataclass(slots=True)
class _Watch:
    node: Node
    bucket: str
    hear: Callable[[str, object], None]
    shown: dict[str, int]
    ready: float = 0.0
    """When the last change that is under way arrives: later ones arrive later."""


class Store:
    """Buckets of keys with revisions. A conflict is told as `CONFLICT`."""

    CONFLICT = _Outcome("conflict")

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._data: dict[str, dict[str, tuple[object, int]]] = {}
        self._revision = 0
        self._watches: list[_Watch] = []

    def get(self, bucket: str, key: str) -> tuple[object, int]:
        """Value and revision; (None, 0) if there is none."""
        value, revision = self._data.get(bucket, {}).get(key, (None, 0))
        return (value, revision) if value is not None else (None, 0)

    def items(self, bucket: str) -> dict[str, object]:
        return {key: value for key, (value, _) in self._data.get(bucket, {}).items() if value is not None}

    def put(self, bucket: str, key: str, value: object, expected: int | None = None) -> object:
        """The new revision, or `CONFLICT`; a value of None removes the key."""
        if expected is not None and expected != self.get(bucket, key)[1]:
            return self.CONFLICT
        self._revision += 1
        self._data.setdefault(bucket, {})[key] = (value, self._revision)
        for watch in self._watches:
            if watch.bucket == bucket:
                self._show(watch, key, value, self._revision)
        return self._revision

    def watch(self, node: Node, bucket: str, hear: Callable[[str, object], None]) -> None:
        """Shows what is there and every change, until the node is dead."""
        watch = _Watch(node, bucket, hear, {})
        self._watches.append(watch)
        self._sync(watch)

    def forget(self, node: Node) -> None:
        self._watches = [watch for watch in self._watches if watch.node is not node]

    def resync(self, node: Node) -> None:
        """The node hears again: it is shown what it has missed."""
        for watch in self._watches:
            if watch.node is node:
                self._sync(watch)

    def _sync(self, watch: _Watch) -> None:
        for key, (value, revision) in self._data.get(watch.bucket, {}).items():
            if watch.shown.get(key, 0) < revision:
                self._show(watch, key, value, revision)

    def _show(self, watch: _Watch, key: str, value: object, revision: int) -> None:
        clock = self._bus.clock
        watch.ready = max(watch.ready, clock.now + self._bus.delay())
        clock.at(watch.ready, self._deliver, watch, key, value, revision)

    def _deliver(self, watch: _Watch, key: str, value: object, revision: int) -> None:
        node = watch.node
        if self._bus.up and node.attached and node.side == 0 and watch.shown.get(key, 0) < revision:
            watch.shown[key] = revision
            node.run(watch.hear, key, value)
