"""The `keyvalue-nats` provider: `wasi:keyvalue` in NATS JetStream buckets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.errors import ConfigError, NotFound
from trellis_lattice.subjects import kv_stream
from trellis_provider_sdk import ProviderContext, ProviderLink, current_call
from trellis_provider_sdk.keyvalue import AccessDenied, KeyValueBucket, KeyValueProvider, NoSuchStore, Refused

from .bucket import NatsBucket
from .settings import StoreSettings, store_settings

__all__ = ["KeyValueNats"]

_CONNECT_TIMEOUT = 5.0

_Place = tuple[tuple[str, ...], str | None]
"""NATS urls and JetStream domain."""


class KeyValueNats(KeyValueProvider):
    """Buckets are opened once and kept; which of them a component may open is the link's affair."""

    database = "nats"

    async def start(self, ctx: ProviderContext) -> None:
        self._settings = store_settings(ctx.config, ctx.lattice)
        self._by_link: dict[tuple[str, str], StoreSettings] = {}
        self._links: dict[tuple[str, str, str, str, str], ProviderLink] = {}
        self._buckets: dict[tuple[_Place, str], NatsBucket] = {}
        self._connections: dict[_Place, Connection] = {}
        self._opening = asyncio.Lock()

    async def link_put(self, link: ProviderLink) -> None:
        if link.target != self.ctx.provider_id:
            raise ConfigError(
                f"keyvalue-nats {self.ctx.provider_id} is the source of a link to {link.target}, which it never calls.",
                remedy="Link the component to the provider: the component is the source.",
            )
        self._by_link[link.source, link.name] = self._merged(self.ctx.config, link)
        self._links[link.key] = link

    async def link_delete(self, link: ProviderLink) -> None:
        self._links.pop(link.key, None)
        self._by_link.pop((link.source, link.name), None)

    async def config_changed(self, config: Mapping[str, str]) -> None:
        settings = store_settings(config, self.ctx.lattice)
        by_link = {(link.source, link.name): self._merged(config, link) for link in self._links.values()}
        self._settings, self._by_link = settings, by_link

    async def stop(self) -> None:
        for connection in getattr(self, "_connections", {}).values():
            await connection.aclose()

    async def bucket(self, identifier: str) -> KeyValueBucket:
        call = current_call()
        settings = self._by_link.get((call.source, call.link_name), self._settings)
        name = settings.name_of(identifier)
        if name is None:
            raise Refused(AccessDenied())
        key = ((settings.urls, settings.domain), name)
        found = self._buckets.get(key)
        if found is None or found.gone:
            found = await self._open(key, settings.create, call.deadline)
        return found

    def _merged(self, config: Mapping[str, str], link: ProviderLink) -> StoreSettings:
        return store_settings({**config, **link.target_config}, self.ctx.lattice)

    async def _open(self, key: tuple[_Place, str], create: bool, deadline: float) -> NatsBucket:
        place, name = key
        async with self._opening:
            found = self._buckets.get(key)
            if found is not None and not found.gone:
                return found
            jetstream = JetStream(await self._connection(place))
            try:
                await open_bucket(jetstream.connection, name, deadline=deadline, create=create)
            except NotFound:
                raise Refused(NoSuchStore()) from None
            info = await jetstream.call(f"STREAM.INFO.{kv_stream(name)}", deadline=deadline)
            config = info.get("config", {})
            # With one replica a direct read sees every write; with more it may ask one that lags behind.
            direct = config.get("allow_direct") is True and config.get("num_replicas", 1) == 1
            self._buckets[key] = opened = NatsBucket(jetstream, name, direct=direct)
            return opened

    async def _connection(self, place: _Place) -> Connection:
        """The lattice's connection, or the one to the NATS that the link names."""
        urls, domain = place
        if not urls and domain is None:
            return self.ctx.connection
        if place not in self._connections:
            name = f"trellis {self.ctx.provider_id}"
            # Another NATS does not know who we are in this one; its url may say who we are there.
            settings = (
                ConnectionSettings(urls, name, jetstream_domain=domain)
                if urls
                else replace(self.ctx.connection.settings, name=name, jetstream_domain=domain)
            )
            self._connections[place] = await Connection.connect(settings, timeout=_CONNECT_TIMEOUT)
        return self._connections[place]
