"""A host: joins a lattice, answers for what it runs, and leaves without loss.

The laws of this file: it composes and decides nothing (`state.py` does); control subscriptions exist and the
shared state has been read before the host is announced (lattice-protocol 9.2); a background task that fails is
logged and begins again, so that no host goes on half; when it stops, it first takes no more, then finishes what it
has, then says goodbye, then disconnects; a start that fails takes back what it had begun.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Protocol

from trellis_host.control import register_all
from trellis_host.engine import Engine, EngineSettings
from trellis_host.leaving import Departure
from trellis_host.memory import MemoryGauge
from trellis_host.runtime.admission import Admission
from trellis_host.runtime.background import Background
from trellis_host.runtime.engines import EngineLike
from trellis_host.runtime.images import Images
from trellis_host.runtime.launch import Launcher
from trellis_host.runtime.prepare import Preparer
from trellis_host.runtime.providers import HostServices
from trellis_host.runtime.registries import Registries
from trellis_host.runtime.router import Router
from trellis_host.runtime.shared_state import SharedState
from trellis_host.runtime.workloads import Workloads
from trellis_host.self_description import VERSION, SelfDescription
from trellis_host.settings import HostSettings, default_labels
from trellis_host.standing import Standing
from trellis_host.state import Answer, HostState, Outcome
from trellis_host.telling import Telling, enter
from trellis_host.wasi import HttpClient
from trellis_lattice.bus.beats import BeatPublisher, MembershipWatcher
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.membership import Change, ChangeKind
from trellis_lattice.control.host import HostInfo, HostInventory
from trellis_lattice.control.parts import InventoryPart, PartRequest
from trellis_lattice.control.server import ControlServer
from trellis_lattice.errors import TrellisError
from trellis_lattice.events import Event, HostStarted, HostStopped
from trellis_lattice.events.feed import EventPublisher
from trellis_lattice.invocation.api import Handle
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.invocation.description import ask_description
from trellis_lattice.invocation.server import LatticeServer
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.tracing import Tracing
from trellis_lattice.tracing.query import serve_traces
from trellis_lattice.tracing.setup import start_tracing
from trellis_lattice.wit.types import InterfaceType
from trellis_provider_sdk import BoundListeners, Listeners, Provider, find_provider

__all__ = ["Host", "HostService"]

_log = logging.getLogger("trellis.host")

SERVICE_TIMEOUT = 3.0
"""Seconds for a service to give back what it holds when the host stops."""
OPERATION_TIMEOUT = 1.8
"""Seconds for an operation on shared state: v1 clients wait two."""


class HostService(Protocol):
    """Something that lives as long as the host does and shares its connection, such as the reconciler."""

    async def run(self, connection: Connection, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then gives back what it holds. If it fails, it is run again."""


class Host:
    """One host. `run` is its whole life.

    `listeners` gives its providers their sockets; `services` run beside it; `make_engine` makes what runs its
    components; `boot` tells this process from earlier ones of the same host id (milliseconds since 1970).
    """

    def __init__(
        self,
        settings: HostSettings,
        *,
        listeners: Listeners | None = None,
        services: Sequence[HostService] = (),
        find_provider: Callable[[str], type[Provider]] = find_provider,
        make_engine: Callable[[EngineSettings], EngineLike] = Engine,
        clock: Callable[[], float] = time.monotonic,
        boot: int | None = None,
    ) -> None:
        self.settings = settings
        self.state = HostState(settings.key.id, {**default_labels(), **settings.labels})
        self.registries = Registries(settings.images.credentials, settings.images.docker_config)
        self.images = Images(settings.images, self.registries, settings.cache_dir / "images")
        self.admission = Admission(time.time)
        self.ready = asyncio.Event()
        """Set once the host is announced."""
        self._listeners = listeners or BoundListeners()
        self._services = services
        self._find_provider = find_provider
        self._make_engine = make_engine
        self._clock = clock
        self._started = clock()
        self._boot = boot if boot is not None else time.time_ns() // 1_000_000
        self._changed: Callable[[], None] = lambda: None
        self._heartbeat_due = asyncio.Event()
        self._stop = asyncio.Event()
        self._departure = Departure(self.state, settings.lattice)
        self._accepting = True
        self._answers = Tasks()
        self._memory = MemoryGauge(clock)
        self._standing = Standing(settings.key.id, clock, lambda: self._inventory_changed())

    @property
    def shared(self) -> SharedState:
        return self._shared

    @property
    def workloads(self) -> Workloads:
        return self._workloads

    # life ---------------------------------------------------------------------------------------------

    def request_stop(self, *, grace: float | None = None) -> None:
        """Begins to stop; `run` returns when that is done.

        First others get its work, as far as they can, then it finishes what is under way: `grace` seconds in all.
        """
        longest = self.settings.stop_grace
        self._departure.begin(self._within(0), longest if grace is None else min(grace, longest))
        self._accepting = False
        self._stop.set()
        self._changed()

    async def run(self) -> None:
        """Joins, works until asked to stop, and leaves. Raises a `TrellisError` if it cannot join."""
        settings = self.settings
        enter(self.state.host_id)
        async with AsyncExitStack() as life:
            connection = await Connection.connect(settings.nats, timeout=settings.connect_timeout)
            life.push_async_callback(connection.aclose)
            tracing = start_tracing(self.state.host_id)
            life.push_async_callback(tracing.aclose)
            engine = self._make_engine(
                EngineSettings(max_in_flight=settings.max_in_flight, cache_dir=settings.cache_dir)
            )
            life.push_async_callback(engine.aclose)
            self._shared = await SharedState.open(connection, settings.lattice, deadline=self._within(10))
            life.push_async_callback(self._shared.aclose)
            tasks = await life.enter_async_context(Background())
            await self._work(connection, tracing, engine, tasks, life)

    async def _work(
        self, connection: Connection, tracing: Tracing, engine: EngineLike, tasks: Background, life: AsyncExitStack
    ) -> None:
        """What is made here ends with `life`, in reverse order: that is how the host leaves."""
        settings, host_id = self.settings, self.state.host_id
        life.push_async_callback(self._flush, connection)
        life.push_async_callback(self._answers.aclose)
        self._connection = connection
        telling = self._telling = Telling(connection, settings.lattice, host_id)
        life.push_async_callback(telling.aclose)
        await telling.start()
        self._events = EventPublisher(connection, settings.lattice, host_id, sent=telling.event_sent)
        await self.admission.open(connection, settings, self.state, self.registries, apply=self.apply)
        life.push_async_callback(self.admission.aclose)
        self._http_client = HttpClient()
        life.push_async_callback(self._http_client.aclose)
        self._server = await LatticeServer.start(
            connection, settings.lattice, host_id, tracing=tracing, released=self._release
        )
        self._server.calls = telling.calls
        life.push_async_callback(self._server.aclose)
        self._invoker = LatticeInvoker(connection, settings.lattice, tracing=tracing, host=host_id)
        life.push_async_callback(self._invoker.aclose)
        workloads = self._workloads = self._make_workloads(connection, tracing, engine, tasks)
        self._preparer = Preparer(engine, self.images, lambda: workloads.launching, self._described_anew)
        description = self._description = SelfDescription(
            settings,
            self.state,
            connection,
            workloads,
            self._router,
            self._preparer,
            self.admission,
            self._standing,
            draining=lambda: not self._accepting,
            clock=self._clock,
            started=self._started,
        )
        status = lambda: description.status(engine, self._memory())  # noqa: E731
        beats = BeatPublisher(connection, settings.lattice, host_id, self._boot, status)
        self._changed = beats.changed
        # A host is asked by those who wait for it; the others learn from its silence. The leader asks in any case.
        members = MembershipWatcher(
            connection,
            settings.lattice,
            self._on_member,
            probing=lambda host: self._invoker.waiting,
            expected=self._invoker.executing,
        )
        self._invoker.on_nobody = members.doubt
        self._members = members.membership
        connection.listen(self._standing.connection)
        control = ControlServer(connection, settings.lattice, host_id, prefix=settings.control_prefix)
        register_all(control, self)
        life.push_async_callback(beats.aclose)
        life.push_async_callback(members.aclose)
        life.push_async_callback(self._say_goodbye)
        life.push_async_callback(self._finish)
        life.push_async_callback(control.aclose)
        await self._announce(connection, control, tracing)
        beats.start()
        await members.start()
        beside = (
            tasks.keep(partial(description.heartbeats, self._heartbeat_due, self.publish), name="heartbeats"),
            tasks.keep(workloads.supervision.run, name="health"),
            tasks.keep(self._preparer.run, name="preparing"),
            tasks.keep(self._workloads.offer_refused_links, name="refused links"),
        )
        over = asyncio.Event()
        services = [tasks.keep(partial(each.run, connection, over), name="service") for each in self._services]
        await self._stop.wait()
        await self._departure.moved(connection, lambda: {id: m.beat for id, m in members.membership.members.items()})
        over.set()
        await self._end_services(services)
        for task in beside:
            task.cancel()

    def _make_workloads(
        self, connection: Connection, tracing: Tracing, engine: EngineLike, tasks: Background
    ) -> Workloads:
        router = self._router = Router(self._invoker, tracing, self._telling.calls)
        launcher = Launcher(
            engine,
            self._shared,
            router,
            self.images,
            self.admission,
            owner=tasks,
            client=self._http_client,
            drop=self._drop,
            offered=self._offered,
        )
        return Workloads(
            self.state,
            self._shared,
            router,
            self._server,
            launcher,
            HostServices(self.settings.lattice, connection, self._listeners, router, tracing, {}),
            answers=self._answers,
            changed=self._inventory_changed,
            find_provider=self._find_provider,
            publish=self.publish,
            tasks=tasks,
        )

    async def _end_services(self, services: Sequence[asyncio.Task[None]]) -> None:
        if not services:
            return
        _, late = await asyncio.wait(services, timeout=SERVICE_TIMEOUT)
        for service in late:
            _log.error("A service of the host did not end within %g s; it is cancelled", SERVICE_TIMEOUT)
            service.cancel()

    async def _finish(self) -> None:
        """Finishes what is under way; ends it if this is not an orderly stop."""
        self._accepting = False
        await self._workloads.aclose(max(0.0, self._departure.until - self._within(0)))

    async def _say_goodbye(self) -> None:
        if self.ready.is_set():
            await self.publish(HostStopped(labels=self.state.labels))

    async def _announce(self, connection: Connection, control: ControlServer, tracing: Tracing) -> None:
        lattice = self.settings.lattice
        if tracing.recent is not None:
            await serve_traces(connection, lattice, tracing.recent, self._answers)
        await control.start(deadline=self._within(5))
        labels, name = self.state.labels, self.settings.friendly_name
        await self.publish(HostStarted(friendly_name=name, labels=labels, version=VERSION))
        _log.info("Host %s (%s) joined lattice %s at %s", name, self.state.host_id, lattice, connection.url)
        self.ready.set()

    def _described_anew(self) -> None:
        self.state.described_anew()
        self._inventory_changed()

    def _inventory_changed(self) -> None:
        self._departure.stirred()
        self._changed()
        self._heartbeat_due.set()

    def _on_member(self, change: Change) -> None:
        """A host that died takes the calls it executed with it; their callers learn of it now."""
        self._departure.stirred()
        if change.kind in (ChangeKind.GONE, ChangeKind.LEFT, ChangeKind.RESTARTED):
            self._invoker.host_gone(change.host)
            self._server.host_gone(change.host)
        self._standing.member(change, self._members.members)
        if change.host == self.state.host_id and change.beat.boot > self._boot:
            _log.error("Another process runs under the id of this host, %s: end one of the two", change.host)

    async def _flush(self, connection: Connection) -> None:
        try:
            await connection.flush(deadline=self._within(2))
        except TrellisError as error:
            _log.warning("The last messages of this host may be lost: %s", error)

    def _within(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + seconds

    # resources that cross the lattice -------------------------------------------------------------------

    def _drop(self, value: Any) -> None:
        """A component dropped a resource that came over a link."""
        if isinstance(value, Handle):
            self._invoker.drop(value)
        else:
            self._release(value)

    async def _offered(self, target: str) -> Mapping[str, InterfaceType]:
        """What a link's target answers, here or elsewhere; empty if it does not run yet."""
        here = self._workloads.interfaces(target)
        if here is not None:
            return here
        try:
            return await ask_description(
                self._connection, self.settings.lattice, target, deadline=self._within(OPERATION_TIMEOUT)
            )
        except TrellisError:
            return {}

    def _release(self, value: Any) -> None:
        """Nobody holds a resource of something on this host any more."""
        self._workloads.release(value)

    # what control operations see ------------------------------------------------------------------------

    def apply(self, outcome: Outcome) -> Answer:
        self._workloads.apply(outcome.effects)
        return outcome.answer

    async def settled(self, workload: str) -> None:
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT):
                await self._workloads.settled(workload)
        except TimeoutError:
            _log.info("%s takes longer than a client waits; an event will say when it is done", workload)

    async def publish(self, event: Event) -> bool:
        return await self._events.publish(self.admission.tell(event))

    def deadline(self) -> float:
        return self._within(OPERATION_TIMEOUT)

    def prepare(self, image: str) -> None:
        self._preparer.ask(image)

    def stays(self, workloads: Collection[str]) -> None:
        self._departure.told(workloads)

    def would_take(self, constraints: Mapping[str, str]) -> bool:
        return self._accepting and all(self.state.labels.get(key) == value for key, value in constraints.items())

    def info(self) -> HostInfo:
        return self._description.info()

    def inventory(self, *, calls: bool = False) -> HostInventory:
        """What this host runs; with `calls` also what its calls and the links of its providers are like now."""
        return self._description.inventory(calls=calls)

    def inventory_part(self, request: PartRequest) -> InventoryPart:
        return self._description.part(request)
