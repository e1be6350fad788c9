"""A provider that runs inside this host: its context, its links, its health, and restarts when it fails.

The laws of this file: a provider gets its links with their configs resolved, each once; a link it refuses is
reported with its reason and tried again when the link or one of its configs changes, and now and then, because
the reason may have gone; whatever a provider raises never reaches the host's own tasks, and no step of it is
waited for without a bound.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from trellis_host.runtime.background import bounded
from trellis_host.state import ProviderSpec
from trellis_lattice.bus.connection import Connection
from trellis_lattice.config import ConfigMap
from trellis_lattice.errors import TrellisError
from trellis_lattice.invocation.api import Call, Invoker
from trellis_lattice.links import Link
from trellis_lattice.tracing import Tracing
from trellis_lattice.wit.types import FuncType, InterfaceType
from trellis_provider_sdk import Health, Listeners, Provider, ProviderLink, ProviderRunner

__all__ = ["HostServices", "RunningProvider"]

_log = logging.getLogger("trellis.host")

S = TypeVar("S")

START_TIMEOUT = 30.0
"""Seconds for a provider to get ready."""
STEP_TIMEOUT = 5.0
"""Seconds for a provider to take or give back a link, to take a configuration, and to stop after it has drained."""
HEALTH_TIMEOUT = 2.0
"""Seconds for a provider to say how it is."""


@dataclass(frozen=True, slots=True)
class HostServices:
    """What all providers of a host use of it. `shared` holds the one object of each kind they share."""

    lattice: str
    connection: Connection
    listeners: Listeners
    invoker: Invoker
    tracing: Tracing
    shared: dict[type, object]


class _Context:
    """The `ProviderContext` of one provider."""

    def __init__(self, provider_id: str, config: ConfigMap, host: HostServices) -> None:
        self._provider_id = provider_id
        self._log = logging.getLogger(f"trellis.provider.{provider_id}")
        self._host = host
        self.current_config: Mapping[str, str] = config
        self.on_link_lost: Callable[[ProviderLink, TrellisError], None] = lambda link, reason: None

    @property
    def provider_id(self) -> str:
        return self._provider_id

    @property
    def config(self) -> Mapping[str, str]:
        return self.current_config

    @property
    def log(self) -> logging.Logger:
        return self._log

    @property
    def lattice(self) -> str:
        return self._host.lattice

    @property
    def listeners(self) -> Listeners:
        return self._host.listeners

    @property
    def connection(self) -> Connection:
        return self._host.connection

    @property
    def tracing(self) -> Tracing:
        return self._host.tracing

    def shared(self, kind: type[S], make: Callable[[], S]) -> S:
        found = self._host.shared.get(kind)
        if found is None:
            found = self._host.shared[kind] = make()
        return cast("S", found)

    async def invoke(
        self,
        target: str,
        interface: str,
        function: str,
        args: Sequence[Any],
        type: FuncType,
        *,
        deadline: float,
        link_name: str = "default",
        idempotent: bool = False,
        source: str | None = None,
    ) -> Any:
        return await self._host.invoker.invoke(
            Call(target, interface, function, args, type, deadline, source or self._provider_id, link_name, idempotent)
        )

    def link_lost(self, link: ProviderLink, reason: TrellisError) -> None:
        self.on_link_lost(link, reason)


class RunningProvider:
    """Answers calls to one provider (a `LocalService`) and keeps its links and config current."""

    def __init__(self, spec: ProviderSpec, runner: ProviderRunner, context: _Context) -> None:
        self.spec = spec
        self.runner = runner
        self._context = context
        self._refused: dict[tuple[str, str, str, str, str], str] = {}
        context.on_link_lost = self._link_lost

    @classmethod
    def make(
        cls, spec: ProviderSpec, provider_class: type[Provider], config: ConfigMap, host: HostServices
    ) -> RunningProvider:
        """Builds it; `start` brings it to life. Raises `ConfigError` if the class cannot be expressed in WIT."""
        context = _Context(spec.id, config, host)
        return cls(spec, ProviderRunner(provider_class(), context), context)

    @property
    def has_capacity(self) -> bool:
        return True

    @property
    def interfaces(self) -> Mapping[str, InterfaceType]:
        return self.runner.interfaces

    @property
    def refused_links(self) -> Mapping[tuple[str, str, str, str, str], str]:
        """Links the provider did not accept, by storage identity, with its reason."""
        return self._refused

    def function_type(self, interface: str, function: str) -> FuncType:
        return self.runner.function_type(interface, function)

    async def serve(self, call: Call) -> Any:
        return await self.runner.serve(call)

    async def start(self) -> None:
        await self._step(self.runner.start(), START_TIMEOUT, "start")

    async def drain(self, grace: float) -> None:
        """Takes no new work; calls that come over links are still answered."""
        try:
            await self._step(self.runner.drain(grace), grace + STEP_TIMEOUT, "drain")
        except TrellisError as error:
            _log.warning("Provider %s did not drain: %s", self.spec.id, error)

    async def stop(self, grace: float) -> None:
        """Drains if it has not, then gives everything back; what hangs is left behind."""
        try:
            await self._step(self.runner.stop(grace), grace + STEP_TIMEOUT, "stop")
        except TrellisError as error:
            _log.error("Provider %s did not stop: %s", self.spec.id, error)

    async def health(self) -> Health:
        """What it says of itself; unhealthy with the reason if it cannot say."""
        try:
            health = await self._step(self.runner.health(), HEALTH_TIMEOUT, "health")
        except TrellisError as error:
            return Health(False, error.message)
        return health if isinstance(health, Health) else Health(False, f"it answered {health!r:.100}")

    async def sync(
        self, config: ConfigMap, links: Sequence[Link], resolve: Callable[[Sequence[str]], ConfigMap]
    ) -> None:
        """Brings its own configuration and its links to what they are now. Refusals are kept and logged, not raised."""
        await self._change_config(config)
        now = {link.key for link in links}
        for key in [key for key in self._refused if key not in now]:
            del self._refused[key]
        for key in [each.key for each in self.runner.links if each.key not in now]:
            await self._delete_link(key)
        for link in links:
            await self._put_link(link, resolve)

    async def _put_link(self, link: Link, resolve: Callable[[Sequence[str]], ConfigMap]) -> None:
        try:
            resolved = ProviderLink(
                source=link.source_id,
                target=link.target,
                name=link.name,
                namespace=link.wit_namespace,
                package=link.wit_package,
                interfaces=tuple(link.interfaces),
                source_config=resolve(link.source_config),
                target_config=resolve(link.target_config),
            )
            await self._step(self.runner.link_put(resolved), STEP_TIMEOUT, "link_put")
        except TrellisError as error:
            again = self._refused.get(link.key) == str(error)
            self._refused[link.key] = str(error)
            level = logging.DEBUG if again else logging.ERROR
            _log.log(
                level, "Provider %s refused the link %s → %s: %s", self.spec.id, link.source_id, link.target, error
            )
        else:
            if all(each.key != link.key for each in self.runner.links):
                return  # it was accepted, and lost again before we heard of it
            if self._refused.pop(link.key, None) is not None:
                _log.info("Provider %s accepts the link %s → %s now", self.spec.id, link.source_id, link.target)

    def _link_lost(self, link: ProviderLink, reason: TrellisError) -> None:
        self.runner.forget_link(link.key)
        self._refused[link.key] = str(reason)
        _log.error("Provider %s lost the link %s → %s: %s", self.spec.id, link.source, link.target, reason)

    async def _delete_link(self, key: tuple[str, str, str, str, str]) -> None:
        try:
            await self._step(self.runner.link_delete(key), STEP_TIMEOUT, "link_delete")
        except TrellisError as error:
            _log.warning("Provider %s could not let go of a link: %s", self.spec.id, error)

    async def _change_config(self, config: ConfigMap) -> None:
        if config == self._context.current_config:
            return
        self._context.current_config = config
        try:
            await self._step(self.runner.config_changed(config), STEP_TIMEOUT, "config_changed")
        except TrellisError as error:
            _log.error("Provider %s refused its new configuration: %s", self.spec.id, error)

    async def _step(self, work: Coroutine[Any, Any, S], seconds: float, name: str) -> S:
        return await bounded(work, seconds, f"{name} of provider {self.spec.id}")
