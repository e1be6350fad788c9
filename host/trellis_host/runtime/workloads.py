"""Executes what the host's state machine decided: the running components and providers of one host.

The laws of this file: effects on one workload happen one after the other, those on different workloads side by
side; the result of a launch goes back to the state machine, whose further effects follow in the same order; a
launch that fails leaves nothing running; whatever leaves is first taken out of routing, then given a grace period
for what it has begun; nothing waits for a launch or for a provider without a bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import assert_never

from trellis_host.engine import LoadPhase
from trellis_host.runtime.background import Background
from trellis_host.runtime.chains import Chains
from trellis_host.runtime.components import RunningComponent
from trellis_host.runtime.departures import Departures, Served
from trellis_host.runtime.health import Supervision
from trellis_host.runtime.launch import Launcher
from trellis_host.runtime.providers import HostServices, RunningProvider
from trellis_host.runtime.router import LocalService, Router
from trellis_host.runtime.shared_state import SharedState
from trellis_host.runtime.steps import Steps
from trellis_host.runtime.world import same_world
from trellis_host.state import (
    AbandonLaunch,
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
from trellis_lattice.errors import TrellisError
from trellis_lattice.events import Event
from trellis_lattice.invocation.description import serve_description
from trellis_lattice.invocation.server import LatticeServer
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.links import Link
from trellis_lattice.wit.types import InterfaceType
from trellis_provider_sdk import Provider

__all__ = ["Workloads"]

_log = logging.getLogger("trellis.host")

FETCH_TIMEOUT = 120.0
"""Seconds to fetch an image."""
DRAIN_GRACE = 10.0
"""Seconds that a provider which leaves a running host gets for the calls it has begun."""
REFUSED_AGAIN = 2.0
"""Seconds until a provider is asked again about links it refused."""
STATE_TIMEOUT = 10.0
"""Seconds to read or write what the lattice shares."""
LATE = 1.0
"""Seconds for what has been told to end."""


class Workloads:
    """Everything that runs on a host.

    `tasks` is where its work lives; `changed` is told when an inventory would say something new.
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
        tasks: Background,
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
        self._chains = Chains(tasks)
        self._steps = Steps(state.host_id)
        self._departures = Departures(router, tasks)
        self.supervision = Supervision(
            state.host_id,
            tasks,
            wanted=lambda: self._state.providers,
            running=lambda: self.providers,
            restart=self.restart_provider,
            publish=publish,
        )
        self._served: dict[str, Served] = {}
        shared.on_links = self._on_links
        shared.on_config = self._on_config

    @property
    def components(self) -> list[RunningComponent]:
        return [each.service for each in self._served.values() if isinstance(each.service, RunningComponent)]

    @property
    def providers(self) -> list[RunningProvider]:
        return [each.service for each in self._served.values() if isinstance(each.service, RunningProvider)]

    def release(self, value: object) -> None:
        """Nobody holds a resource of something here, or of something that is leaving, any more."""
        for each in (*self._served.values(), *self._departures.leaving):
            if isinstance(each.service, RunningProvider):
                each.service.runner.release(value)
            elif isinstance(each.service, RunningComponent):
                each.service.release(value)

    @property
    def launching(self) -> bool:
        """Whether something is being started, or told of its links."""
        return self._steps.busy

    @property
    def in_flight(self) -> int:
        """Calls that are executed here, also by what is leaving."""
        return sum(each.in_flight for each in (*self._served.values(), *self._departures.leaving))

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
            if isinstance(effect, AbandonLaunch | HaltComponent | HaltProvider):
                self._steps.interrupt(effect.id)
            if not isinstance(effect, AbandonLaunch):
                self._chains.add(_key(effect), partial(self._execute, effect))
        if self._state.revision != self._announced:
            self._announced = self._state.revision
            self._changed()

    async def settled(self, workload: str | None = None) -> None:
        """Waits until everything applied so far is done, or what was applied to one workload."""
        await self._chains.settled(workload)

    async def aclose(self, grace: float) -> None:
        """Leaves in the order that loses nothing.

        Providers take no new work; components take none from the lattice, but still call each other and the
        providers here until all are done; then they are gone, and the providers after them. `grace` seconds in all.
        """
        until = self._now() + grace
        self._steps.close()
        await self._settled_within(LATE)
        served, self._served = self._served, {}
        providers = [each for each in served.values() if isinstance(each.service, RunningProvider)]
        components = [each for each in served.values() if isinstance(each.service, RunningComponent)]
        await asyncio.gather(*(self._drain(each.service, until) for each in providers))
        departures = self._departures
        await asyncio.gather(*(departures.stop_serving(each, until) for each in components))
        await departures.finish([each.service for each in components], until)
        await departures.over(until)
        for each in components:
            departures.end(each.service)
        await asyncio.gather(*(departures.leave(each, until) for each in providers))
        await self._settled_within(until - self._now() + LATE)

    async def _settled_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._chains.settled()
        except TimeoutError:
            _log.debug("Something is still under way")

    async def offer_refused_links(self) -> None:
        """Hands refused links over again, because their reason may have gone. Runs until cancelled."""
        while True:
            await asyncio.sleep(REFUSED_AGAIN)
            self._sync_all(provider.spec.id for provider in self.providers if provider.refused_links)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # one effect ---------------------------------------------------------------------------------------

    async def _execute(self, effect: Effect) -> None:
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
            case AbandonLaunch():
                pass  # done when it was applied
            case _:
                assert_never(effect)

    async def _launch_component(self, spec: ComponentSpec) -> None:
        error = await self._start_component(spec, "launch of component")
        if error is not None:
            effects = self._state.component_failed(spec, str(error), error.to_wire())
            if any(isinstance(each, Emit) for each in effects[:1]):
                _log.error("Component %s cannot start: %s", spec.id, error)
            self.apply(effects)
        else:
            _log.info("Component %s runs (%s, %d instances at most)", spec.id, spec.image, spec.max_instances)
            self.apply(self._state.component_ready(spec))
            self._chains.add(spec.id, partial(self._remember_image, spec))

    async def _start_component(self, spec: ComponentSpec, name: str) -> TrellisError | None:
        """Launches, which may be interrupted, then lets it take over, which may not. Says why it failed."""
        launched: list[RunningComponent] = []
        error = await self._steps.run(spec.id, self._load(spec, launched.append), name)
        try:
            for each in launched:
                await self._serve(spec.id, each)
        except TrellisError as failed:
            return failed
        return error

    async def _load(self, spec: ComponentSpec, loaded: Callable[[RunningComponent], None]) -> None:
        def progress(phase: LoadPhase) -> None:
            if phase is LoadPhase.COMPILING:
                _log.info("Compiling %s (%s); this happens once", spec.id, spec.image)

        loaded(await self._launcher.launch(spec, deadline=self._now() + FETCH_TIMEOUT, progress=progress))

    async def _remember_image(self, spec: ComponentSpec) -> None:
        """For tools that look a component up in the lattice's data; what runs does not depend on it."""
        try:
            await self._shared.remember_image(spec.id, spec.image, deadline=self._now() + STATE_TIMEOUT)
        except TrellisError as error:
            _log.warning("The image of component %s could not be noted in the lattice's data: %s", spec.id, error)

    async def _reshape(self, spec: ComponentSpec) -> None:
        running = self.component(spec.id)
        if running is None:
            return
        if same_world(running.spec, spec):
            running.reshape(spec)
            events = self._state.component_reshaped(spec)
        else:
            error = await self._start_component(spec, "relaunch of component")
            if error is None:
                events = self._state.component_reshaped(spec)
            else:
                _log.error("Component %s goes on as it was: %s", spec.id, error)
                events = self._state.reshape_failed(spec, running.spec, str(error), error.to_wire())
        for event in events:
            await self._execute(event)  # before what was asked for meanwhile

    async def _launch_provider(self, spec: ProviderSpec) -> None:
        error = await self._steps.run(spec.id, self._start_provider(spec), "launch of provider")
        if error is not None:
            _log.error("Provider %s cannot start: %s", spec.id, error)
            self.apply(self._state.provider_failed(spec, str(error), error.to_wire()))
        else:
            _log.info("Provider %s runs (%s)", spec.id, spec.image)
            self.apply(self._state.provider_ready(spec))

    async def restart_provider(self, provider_id: str) -> TrellisError | None:
        """Ends a provider and starts it anew, if it is still wanted. Says why that failed."""
        failed: list[TrellisError] = []
        self._chains.add(provider_id, partial(self._restart_provider, provider_id, failed.append))
        await self._chains.settled(provider_id)
        return failed[0] if failed else None

    async def _restart_provider(self, provider_id: str, failed: Callable[[TrellisError], None]) -> None:
        spec = next((each for each in self._state.providers if each.id == provider_id), None)
        if spec is None or self._steps.closed:
            return
        _log.warning("Provider %s has failed; it is started again", provider_id)
        await self._halt(provider_id)
        error = await self._steps.run(provider_id, self._start_provider(spec), "restart of provider")
        if error is None:
            self.apply(self._state.provider_restarted(spec))
        else:
            _log.error("Provider %s cannot be started again: %s", provider_id, error)
            failed(error)

    async def _start_provider(self, spec: ProviderSpec) -> None:
        await self._launcher.admission.provider(spec)
        await self._shared.refresh_config(spec.config, deadline=self._now() + STATE_TIMEOUT)
        config = self._shared.config(spec.config)
        running = RunningProvider.make(spec, self._find_provider(spec.image), config, self._services)
        try:
            await running.start()
            await self._hand_over(running)
            await self._serve(spec.id, running)
        except BaseException:
            await running.stop(0.0)
            raise
        self._sync_all((spec.id,))  # what changed meanwhile

    async def _serve(self, target: str, service: LocalService) -> None:
        """Puts a service into routing; one that answered for the target before leaves."""
        if self._steps.closed:
            raise self._steps.stopping()
        serving = await self._server.serve(target, service)
        try:
            description = await serve_description(
                self._services.connection, self._services.lattice, target, service.interfaces, self._answers
            )
        except BaseException:
            await serving.aclose()
            raise
        before = self._served.get(target)
        self._served[target] = Served(service, serving, description)
        if before is not None and isinstance(service, RunningComponent):
            service.follow(before.service)
        self._router.add(target, service)
        if before is not None:
            self._departures.beside(before)

    async def _halt(self, target: str) -> None:
        """A component drains beside what follows; a provider must be gone before its id or its port is used again."""
        served = self._served.pop(target, None)
        if served is None:
            return
        self._router.remove(target, served.service)
        if isinstance(served.service, RunningProvider):
            await self._departures.leave(served, self._now() + DRAIN_GRACE)
        else:
            self._departures.beside(served)

    async def _drain(self, service: LocalService, until: float) -> None:
        if isinstance(service, RunningProvider):
            await service.drain(max(0.0, until - self._now()))

    # changes of shared state --------------------------------------------------------------------------

    def _on_links(self, changed: list[Link], removed: list[Link]) -> None:
        ends = {end for link in (*changed, *removed) for end in (link.source_id, link.target)}
        self._sync_all(provider.spec.id for provider in self.providers if provider.spec.id in ends)

    def _on_config(self, name: str) -> None:
        for provider in self.providers:
            links = self._shared.links_at(provider.spec.id)
            used = (*provider.spec.config, *(each for link in links for each in link.source_config))
            if name in (*used, *(each for link in links for each in link.target_config)):
                self._sync_all((provider.spec.id,))

    def _sync_all(self, providers: Iterable[str]) -> None:
        for provider_id in providers:
            self._chains.look(provider_id, partial(self._sync, provider_id))

    async def _sync(self, provider_id: str) -> None:
        served = self._served.get(provider_id)
        if served is not None and isinstance(served.service, RunningProvider) and not self._steps.closed:
            await self._steps.run(provider_id, self._hand_over(served.service), "links of provider")

    async def _hand_over(self, provider: RunningProvider) -> None:
        shared, id = self._shared, provider.spec.id
        await provider.sync(shared.known_config(provider.spec.config), shared.links_at(id), shared.config)


def _key(effect: Effect) -> str:
    match effect:
        case LaunchComponent(spec) | ReshapeComponent(spec) | LaunchProvider(spec):
            return spec.id
        case HaltComponent(id) | HaltProvider(id) | AbandonLaunch(id):
            return id
        case Emit(event):
            return str(getattr(event, "component_id", None) or getattr(event, "provider_id", None) or "host")
        case _:
            assert_never(effect)
