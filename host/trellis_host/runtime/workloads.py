"""Executes what the host's state machine decided: the running components and providers of one host.

The laws of this file: effects on one workload happen one after the other, those on different workloads side by
side; the result of a launch goes back to the state machine, whose further effects follow in the same order;
whatever leaves is first taken out of routing, then given a grace period for what it has begun.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from trellis_host.engine import LoadPhase
from trellis_host.runtime.components import RunningComponent
from trellis_host.runtime.launch import Launcher
from trellis_host.runtime.providers import HostServices, RunningProvider
from trellis_host.runtime.router import LocalService, Router
from trellis_host.runtime.shared_state import SharedState
from trellis_host.runtime.world import same_world
from trellis_host.state import (
    ComponentSpec,
    Effect,
    Emit,
    HaltComponent,
    HaltProvider,
    HostState,
    LaunchComponent,
    LaunchProvider,
    ProviderSpec,
    ReshapeComponent,
)
from trellis_lattice.bus.connection import Subscription
from trellis_lattice.errors import TrellisError
from trellis_lattice.events import Event
from trellis_lattice.invocation.description import serve_description
from trellis_lattice.invocation.server import LatticeServer, Serving
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.links import Link
from trellis_lattice.wit.types import InterfaceType
from trellis_provider_sdk import Provider

__all__ = ["Workloads"]

_log = logging.getLogger("trellis.host")

FETCH_TIMEOUT = 120.0
"""Seconds to fetch an image."""
DRAIN_GRACE = 10.0
"""Seconds that what leaves a running host gets for the calls it has begun."""
REFUSED_AGAIN = 2.0
"""Seconds until a provider is asked again about links it refused."""


@dataclass(slots=True)
class _Served:
    """A workload, where it answers calls from the lattice."""

    service: LocalService
    serving: Serving
    description: Subscription


class Workloads:
    """Everything that runs on a host.

    `tasks` is the task group its work lives in; `changed` is told when an inventory would say something new.
    """

    def __init__(
        self,
        state: HostState,
        shared: SharedState,
        router: Router,
        server: LatticeServer,
        launcher: Launcher,
        services: HostServices,
        *,
        find_provider: Callable[[str], type[Provider]],
        publish: Callable[[Event], Awaitable[object]],
        answers: Tasks,
        changed: Callable[[], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._answers = answers
        self._changed = changed
        self._announced = state.revision
        self._state = state
        self._shared = shared
        self._router = router
        self._server = server
        self._launcher = launcher
        self._services = services
        self._find_provider = find_provider
        self._publish = publish
        self._tasks = tasks
        self._chains: dict[str, asyncio.Task[None]] = {}
        self._served: dict[str, _Served] = {}
        shared.on_links = self._on_links
        shared.on_config = self._on_config

    @property
    def components(self) -> list[RunningComponent]:
        return [each.service for each in self._served.values() if isinstance(each.service, RunningComponent)]

    @property
    def providers(self) -> list[RunningProvider]:
        return [each.service for each in self._served.values() if isinstance(each.service, RunningProvider)]

    def component(self, component_id: str) -> RunningComponent | None:
        served = self._served.get(component_id)
        return served.service if served and isinstance(served.service, RunningComponent) else None

    def interfaces(self, target: str) -> Mapping[str, InterfaceType] | None:
        """What a target on this host answers; None if it is elsewhere."""
        served = self._served.get(target)
        return served.service.interfaces if served is not None else None

    def apply(self, effects: Iterable[Effect]) -> None:
        """Starts effects; those on one workload after all earlier ones on it."""
        for effect in effects:
            self._enqueue(_key(effect), self._execute(effect))
        if self._state.revision != self._announced:
            self._announced = self._state.revision
            self._changed()

    async def settled(self) -> None:
        """Waits until everything applied so far is done."""
        if self._chains:
            await asyncio.wait(tuple(self._chains.values()))

    async def aclose(self, grace: float) -> None:
        """Leaves in the order that loses nothing: providers take no new work, then components finish, then all stop."""
        await self.settled()
        served, self._served = self._served, {}
        providers = [each for each in served.values() if isinstance(each.service, RunningProvider)]
        components = [each for each in served.values() if not isinstance(each.service, RunningProvider)]
        await asyncio.gather(*(self._drain_provider(each, grace) for each in providers))
        await asyncio.gather(*(self._leave(each, grace) for each in components))
        await asyncio.gather(*(self._leave(each, grace) for each in providers))

    async def offer_refused_links(self) -> None:
        """Hands refused links over again, because their reason may have gone. Runs until cancelled."""
        while True:
            await asyncio.sleep(REFUSED_AGAIN)
            for provider in self.providers:
                refused = provider.refused_links
                for link in self._shared.links_at(provider.spec.id) if refused else ():
                    if link.key in refused:
                        self._enqueue(provider.spec.id, provider.put_link(link, self._shared.config))

    # one effect ---------------------------------------------------------------------------------------

    def _enqueue(self, key: str, work: Awaitable[None]) -> None:
        before = self._chains.get(key)

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait((before,))
            await work

        task = self._tasks.create_task(in_turn(), name=f"effects of {key}")
        self._chains[key] = task
        task.add_done_callback(lambda done: self._chains.pop(key) if self._chains.get(key) is done else None)

    async def _execute(self, effect: Effect) -> None:
        try:
            match effect:
                case LaunchComponent(spec):
                    await self._launch_component(spec)
                case ReshapeComponent(spec):
                    await self._reshape(spec)
                case HaltComponent(id) | HaltProvider(id):
                    await self._halt(id)
                case LaunchProvider(spec):
                    await self._launch_provider(spec)
                case Emit(event):
                    await self._publish(event)
                case _:
                    assert_never(effect)
        except TrellisError as error:
            _log.error("%s failed: %s", type(effect).__name__, error)

    async def _launch_component(self, spec: ComponentSpec) -> None:
        def progress(phase: LoadPhase) -> None:
            if phase is LoadPhase.COMPILING:
                _log.info("Compiling %s (%s); this happens once", spec.id, spec.image)

        deadline = asyncio.get_running_loop().time() + FETCH_TIMEOUT
        try:
            running = await self._launcher.launch(spec, deadline=deadline, progress=progress)
            await self._shared.remember_image(spec.id, spec.image, deadline=deadline)
            await self._serve(spec.id, running)
        except TrellisError as error:
            _log.error("Component %s cannot start: %s", spec.id, error)
            self.apply(self._state.component_failed(spec, str(error)))
        else:
            _log.info("Component %s runs (%s, %d instances at most)", spec.id, spec.image, spec.max_instances)
            self.apply(self._state.component_ready(spec))

    async def _reshape(self, spec: ComponentSpec) -> None:
        running = self.component(spec.id)
        if running is None:
            return
        if same_world(running.spec, spec):
            running.reshape(spec)
            return
        deadline = asyncio.get_running_loop().time() + FETCH_TIMEOUT
        await self._serve(spec.id, await self._launcher.launch(spec, deadline=deadline))

    async def _launch_provider(self, spec: ProviderSpec) -> None:
        deadline = asyncio.get_running_loop().time() + FETCH_TIMEOUT
        try:
            await self._shared.refresh_config(spec.config, deadline=deadline)
            config = self._shared.config(spec.config)
            running = RunningProvider.make(spec, self._find_provider(spec.image), config, self._services)
            await running.start()
            for link in self._shared.links_at(spec.id):
                await running.put_link(link, self._shared.config)
            await self._serve(spec.id, running)
        except TrellisError as error:
            _log.error("Provider %s cannot start: %s", spec.id, error)
            self.apply(self._state.provider_failed(spec, str(error)))
        else:
            _log.info("Provider %s runs (%s)", spec.id, spec.image)
            self.apply(self._state.provider_ready(spec))

    async def _serve(self, target: str, service: LocalService) -> None:
        """Puts a service into routing; one that answered for the target before leaves."""
        before = self._served.get(target)
        serving = await self._server.serve(target, service)
        description = await serve_description(
            self._services.connection, self._services.lattice, target, service.interfaces, self._answers
        )
        self._served[target] = _Served(service, serving, description)
        self._router.add(target, service)
        if before is not None:
            self._tasks.create_task(self._leave(before, DRAIN_GRACE), name=f"drain {target}")

    async def _halt(self, target: str) -> None:
        """A component drains beside what follows; a provider must be gone before its id or its port is used again."""
        served = self._served.pop(target, None)
        if served is None:
            return
        self._router.remove(target, served.service)
        if isinstance(served.service, RunningProvider):
            await self._leave(served, DRAIN_GRACE)
        else:
            self._tasks.create_task(self._leave(served, DRAIN_GRACE), name=f"drain {target}")

    async def _drain_provider(self, served: _Served, grace: float) -> None:
        if isinstance(served.service, RunningProvider):
            await served.service.stop(grace)

    async def _leave(self, served: _Served, grace: float) -> None:
        service = served.service
        self._router.remove(served.serving.target, service)
        await served.description.unsubscribe()
        await served.serving.aclose(grace=grace)
        if isinstance(service, RunningProvider):
            await service.stop(grace)
        elif isinstance(service, RunningComponent):
            try:
                async with asyncio.timeout(grace):
                    await service.slots.idle()
            except TimeoutError:
                _log.warning("Component %s still ran %d invocations when it left", service.spec.id, service.in_flight)
            service.close()

    # changes of shared state --------------------------------------------------------------------------

    def _on_links(self, changed: list[Link], removed: list[Link]) -> None:
        for link in removed:
            for provider in self._ends(link):
                self._enqueue(provider.spec.id, provider.delete_link(link))
        for link in changed:
            for provider in self._ends(link):
                self._enqueue(provider.spec.id, provider.put_link(link, self._shared.config))

    def _ends(self, link: Link) -> list[RunningProvider]:
        return [provider for provider in self.providers if provider.spec.id in (link.source_id, link.target)]

    def _on_config(self, name: str) -> None:
        for provider in self.providers:
            if name in provider.spec.config:
                config = self._shared.known_config(provider.spec.config)
                self._enqueue(provider.spec.id, provider.change_config(config))
            for link in self._shared.links_at(provider.spec.id):
                if name in link.source_config or name in link.target_config:
                    self._enqueue(provider.spec.id, provider.put_link(link, self._shared.config))


def _key(effect: Effect) -> str:
    match effect:
        case LaunchComponent(spec) | ReshapeComponent(spec) | LaunchProvider(spec):
            return spec.id
        case HaltComponent(id) | HaltProvider(id):
            return id
        case Emit(event):
            return str(getattr(event, "component_id", None) or getattr(event, "provider_id", None) or "host")
        case _:
            assert_never(effect)
