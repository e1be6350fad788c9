"""Hosts one provider instance: its life, its links, and the calls it answers.

The laws of this file: what a provider raises by accident never reaches a caller; it is logged here, with
traceback, and the caller learns which provider failed at what. Types and converters are made once, when the
runner is made. Links are applied one at a time.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from trellis_lattice.errors import InvocationFailed, TrellisError
from trellis_lattice.invocation.api import Call
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import FuncType, InterfaceType

from .compiled import Compiled, compile_provider
from .convert import Convert
from .provider import CurrentCall, Health, Provider, ProviderContext, ProviderLink, bind_current
from .wit_types import Resource

__all__ = ["ProviderRunner", "describe"]

T = TypeVar("T")

_NO_CONFIG: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Prepared:
    """One function, ready to be called."""

    type: FuncType
    call: Callable[..., Awaitable[Any]]
    args_in: Sequence[Convert | None] | None
    result_out: Convert | None


class ProviderRunner:
    """Runs one provider and is the `Service` that answers for it.

    A host calls it in the process; the lattice's server serves it on NATS, and turns its resources into handles
    there. Whoever holds a resource for others tells `release` when nobody does any more.
    Raises `ConfigError` if the class cannot be expressed in WIT.
    """

    def __init__(self, provider: Provider, ctx: ProviderContext) -> None:
        self.provider = provider
        self.ctx = ctx
        self._log = ctx.log
        self._resources: weakref.WeakSet[Resource] = weakref.WeakSet()
        self._compiled = compile_provider(type(provider), self._resources.add)
        self._prepared: dict[tuple[str, str], _Prepared] = {}
        self._links: dict[tuple[str, str, str, str, str], ProviderLink] = {}
        self._configs: dict[tuple[str, str, str], Mapping[str, str]] = {}
        self._changing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._drained = False
        self._stopped = False

    @property
    def interfaces(self) -> Mapping[str, InterfaceType]:
        """What the provider answers, for its announcement: full name → type."""
        return self._compiled.interfaces

    @property
    def links(self) -> Sequence[ProviderLink]:
        """The links in force."""
        return tuple(self._links.values())

    async def start(self) -> None:
        """Starts the provider. If it fails, everything it took is given back before the error is raised."""
        self.provider.ctx = self.ctx
        try:
            await self._guarded(self.provider.start(self.ctx), "start")
        except BaseException:
            await self.stop()
            raise

    async def drain(self, grace: float) -> None:
        """Lets the provider take no new work and finish what it has, for at most `grace` seconds; calls are still
        answered. Runs once; errors of the provider are logged only."""
        if self._drained or grace <= 0:
            return
        self._drained = True
        try:
            await self._guarded(self.provider.drain(grace), "drain")
        except TrellisError as error:
            self._log.warning("Draining %s failed: %s", self.ctx.provider_id, error)

    async def stop(self, grace: float = 0.0) -> None:
        """Drains for at most `grace` seconds, then stops. Idempotent; errors of the provider are logged only."""
        if self._stopped:
            return
        self._stopped = True
        try:
            await self.drain(grace)
        finally:
            for resource in list(self._resources):
                self.release(resource)
            try:
                await self._guarded(self.provider.stop(), "stop")
            except TrellisError as error:
                self._log.warning("Stopping %s failed: %s", self.ctx.provider_id, error)
            if self._closing:
                await asyncio.wait(self._closing)

    async def link_put(self, link: ProviderLink) -> None:
        """Applies a new or changed link; a link already in force is left alone. Raises what the provider says."""
        async with self._changing:
            if self._links.get(link.key) == link:
                return
            await self._guarded(self.provider.link_put(link), "link_put")
            self._links[link.key] = link
            self._configs.clear()

    async def link_delete(self, key: tuple[str, str, str, str, str]) -> None:
        """Takes a link back. Idempotent. It is gone even if the provider fails to let go of it."""
        async with self._changing:
            link = self._links.pop(key, None)
            self._configs.clear()
            if link is not None:
                await self._guarded(self.provider.link_delete(link), "link_delete")

    def forget_link(self, key: tuple[str, str, str, str, str]) -> None:
        """The provider let go of a link by itself: the next `link_put` hands it over again."""
        self._links.pop(key, None)
        self._configs.clear()

    async def config_changed(self, config: Mapping[str, str]) -> None:
        """Tells the provider its new configuration."""
        async with self._changing:
            await self._guarded(self.provider.config_changed(config), "config_changed")

    async def health(self) -> Health:
        """What the provider says; unhealthy with the reason if it cannot say."""
        try:
            return await self._guarded(self.provider.health(), "health")
        except TrellisError as error:
            return Health(False, str(error))

    def function_type(self, interface: str, function: str) -> FuncType:
        """See `Service`."""
        return self._find(interface, function).type

    async def serve(self, call: Call) -> Any:
        """See `Service`."""
        found = self._find(call.interface, call.function)
        unbind = bind_current(
            CurrentCall(call.source, call.link_name, self._config(call), call.interface, call.function, call.deadline)
        )
        try:
            args = call.args
            if found.args_in is not None:
                args = [part(arg) if part else arg for part, arg in zip(found.args_in, args, strict=True)]
            value = await found.call(*args)
            return found.result_out(value) if found.result_out is not None else None
        except TrellisError:
            raise
        except Exception as error:
            raise self._failed(error, call.interface, call.function) from None
        finally:
            unbind()

    @property
    def has_capacity(self) -> bool:
        """Whether a call would start at once: a provider bounds itself."""
        return not self._stopped

    def release(self, value: object) -> None:
        """Closes a resource that nobody holds any more, beside the caller; `stop` waits for it. Idempotent."""
        if isinstance(value, Resource) and value in self._resources:
            self._resources.discard(value)
            task = asyncio.get_running_loop().create_task(self._close(value), name="close-resource")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _find(self, interface: str, function: str) -> _Prepared:
        found = self._prepared.get((interface, function))
        return found if found is not None else self._prepare(interface, function)

    def _prepare(self, interface: str, function: str) -> _Prepared:
        compiled = self._compiled.find(InterfaceName.parse(interface), function, self.ctx.provider_id)
        needs_in = any(compiled.args_in)
        found = _Prepared(
            compiled.type,
            self._callable(compiled),
            compiled.args_in if needs_in else None,
            compiled.result_out,
        )
        self._prepared[(interface, function)] = found
        return found

    def _callable(self, compiled: Compiled) -> Callable[..., Awaitable[Any]]:
        if compiled.on_resource:
            name = compiled.python_name

            async def call(resource: Resource, *args: Any) -> Any:
                return await getattr(resource, name)(*args)

            return call
        method: Callable[..., Awaitable[Any]] = getattr(self.provider, compiled.python_name)
        return method

    def _config(self, call: Call) -> Mapping[str, str]:
        key = (call.source, call.link_name, call.interface)
        config = self._configs.get(key)
        if config is None:
            if len(self._configs) >= _MAX_CONFIGS:
                self._configs.clear()
            config = self._configs[key] = self._resolve_config(call)
        return config

    def _resolve_config(self, call: Call) -> Mapping[str, str]:
        name = InterfaceName.parse(call.interface)
        for link in self._links.values():
            if (link.source, link.name, link.namespace, link.package) == (
                call.source,
                call.link_name,
                name.namespace,
                name.package,
            ):
                return link.target_config
        return _NO_CONFIG

    async def _close(self, resource: Resource) -> None:
        try:
            await resource.close()
        except Exception:
            self._log.exception("Closing a %s of provider %s failed", type(resource).__name__, self.ctx.provider_id)

    async def _guarded(self, step: Awaitable[T], name: str) -> T:
        try:
            return await step
        except TrellisError:
            raise
        except Exception as error:
            raise self._failed(error, "", name) from None

    def _failed(self, error: Exception, interface: str, function: str) -> InvocationFailed:
        where = f"{interface}.{function}" if interface else function
        self._log.error("Provider %s failed in %s", self.ctx.provider_id, where, exc_info=error)
        return InvocationFailed(
            f"The provider {self.ctx.provider_id} failed in {where} ({type(error).__name__}).",
            remedy="The provider's log has the traceback.",
            provider=self.ctx.provider_id,
            interface=interface,
            function=function,
        )


_MAX_CONFIGS = 4096


def describe(cls: type[Provider]) -> Mapping[str, InterfaceType]:
    """The interfaces of a provider class as types, without making one. Raises `ConfigError`."""
    return compile_provider(cls, lambda _: None).interfaces
