"""The `http-server` provider: HTTP requests become invocations of the linked components."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from trellis_lattice.errors import ConfigError, Conflict
from trellis_lattice.http import HANDLE, HANDLE_TYPE, INCOMING_HANDLER, HttpRequest
from trellis_provider_sdk import Provider, ProviderContext, ProviderLink

from .config import LinkSettings, RoutingMode, ServerSettings, link_settings, server_settings
from .ingress import Ingress
from .routes import LinkKey, Route

__all__ = ["HttpServer"]


class HttpServer(Provider):
    """Listens where its links say and calls `wasi:http/incoming-handler.handle` of their targets."""

    async def start(self, ctx: ProviderContext) -> None:
        self._settings: ServerSettings = server_settings(ctx.config)
        self._links: dict[LinkKey, ProviderLink] = {}
        self.ingress = ctx.shared(
            Ingress,
            lambda: Ingress(ctx.listeners, ctx.tracing, lattice=ctx.lattice, connection=lambda: ctx.connection),
        )
        self.ingress.attach(ctx.provider_id, self._handle, self._lost)

    async def link_put(self, link: ProviderLink) -> None:
        if link.source != self.ctx.provider_id:
            raise ConfigError(
                f"{link.source} is linked to the http-server {self.ctx.provider_id}, which nothing can call.",
                remedy="Link the http-server to the component: the server is the source.",
            )
        await self.ingress.put(self._route(link, self._settings))
        self._links[link.key] = link

    async def link_delete(self, link: ProviderLink) -> None:
        self._links.pop(link.key, None)
        await self.ingress.remove(link.key)

    async def config_changed(self, config: Mapping[str, str]) -> None:
        """Every link is read anew before the first route changes, so that a wrong value changes nothing."""
        settings = server_settings(config)
        routes = [self._route(link, settings) for link in self._links.values()]
        for route in routes:
            await self.ingress.put(route)
        self._settings = settings

    def _lost(self, key: LinkKey, reason: Conflict) -> None:
        """Another host's link for the same requests turned out to be older."""
        link = self._links.pop(key, None)
        if link is not None:
            self.ctx.link_lost(link, reason)

    async def drain(self, grace: float) -> None:
        await self.ingress.drain(self.ctx.provider_id, grace)

    async def stop(self) -> None:
        if hasattr(self, "ingress"):
            await self.ingress.detach(self.ctx.provider_id)

    def _route(self, link: ProviderLink, server: ServerSettings) -> Route:
        settings: LinkSettings = link_settings(link.source_config, server)
        header = server.header if server.routing_mode is RoutingMode.HOST else "host"
        return Route(link.key, link.target, link.name, settings, header)

    def _handle(self, route: Route, request: HttpRequest, deadline: float) -> Awaitable[object]:
        return self.ctx.invoke(
            route.component,
            INCOMING_HANDLER,
            HANDLE,
            (request,),
            HANDLE_TYPE,
            deadline=deadline,
            link_name=route.link_name,
            source=route.provider,
        )
