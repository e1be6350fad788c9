"""A host that runs nothing but speaks the real control protocol on the real bus, for tests of the reconciler."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Any

from trellis_lattice import events, subjects
from trellis_lattice.bus.beats import BeatPublisher, HostStatus
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.kv import modify
from trellis_lattice.bus.kv_jetstream import JetStreamBucket, open_bucket
from trellis_lattice.config import decode_config, encode_config
from trellis_lattice.control import CtlResponse, component, config, host, link, provider
from trellis_lattice.control.component import Scale
from trellis_lattice.control.host import ComponentDescription, HostInfo, HostInventory, ProviderDescription
from trellis_lattice.control.provider import StartProvider, StopProvider
from trellis_lattice.control.server import ControlServer
from trellis_lattice.errors import ConfigError, Conflict, NotFound
from trellis_lattice.events.feed import EventPublisher
from trellis_lattice.links import ComponentSpec, Link, LinkId, put_link, remove_link

TIMEOUT = 5.0
_boots = count(1)


class FakeHost:
    """Made by `start`; `aclose` says goodbye, `kill` does not."""

    _links: JetStreamBucket
    _configs: JetStreamBucket

    def __init__(self, connection: Connection, lattice: str, id: str, labels: Mapping[str, str]) -> None:
        self.id = id
        self.labels = dict(labels)
        self.components: dict[str, ComponentDescription] = {}
        self.providers: dict[str, ProviderDescription] = {}
        self.fail_components: dict[str, str] = {}
        """Component id → the error with which its start fails."""
        self.scales: list[Scale] = []
        self.asked = 0
        """How often the inventory was asked for."""
        self._connection = connection
        self._lattice = lattice
        self._server = ControlServer(connection, lattice, id)
        self._events = EventPublisher(connection, lattice, id)
        self._boot = next(_boots)
        self._beats = BeatPublisher(connection, lattice, id, self._boot, self._status)
        self._revision = 0

    @classmethod
    async def start(cls, url: str, lattice: str, id: str, **labels: str) -> FakeHost:
        connection = await Connection.connect(ConnectionSettings(urls=(url,), name=id), timeout=TIMEOUT)
        self = cls(connection, lattice, id, labels)
        await self._open()
        return self

    async def _open(self) -> None:
        handlers: list[tuple[Any, Any]] = [
            (host.PING, self._ping),
            (host.GET, self._get),
            (component.SCALE, self._scale),
            (provider.START, self._start_provider),
            (provider.STOP, self._stop_provider),
            (link.PUT, self._put_link),
            (link.DEL, self._delete_link),
            (config.PUT, self._put_config),
            (config.DEL, self._delete_config),
        ]
        for operation, handler in handlers:
            self._server.handle(operation, handler)
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        self._links = await open_bucket(self._connection, subjects.lattice_bucket(self._lattice), deadline=deadline)
        self._configs = await open_bucket(self._connection, subjects.config_bucket(self._lattice), deadline=deadline)
        await self._server.start(deadline=deadline)
        await self._publish(events.HostStarted(friendly_name=self.id.lower(), labels=self.labels, version="0.1.0"))
        self._beats.start()

    def changed(self) -> None:
        """Something that the host runs changed behind everybody's back."""
        self._revision += 1
        self._beats.changed()

    async def kill(self) -> None:
        """Ends as a killed process does: nobody is told."""
        await self._connection.aclose()
        await self._beats.aclose()
        await self._server.aclose()

    async def aclose(self) -> None:
        if self._connection.connected:
            await self._publish(events.HostStopped(labels=self.labels))
            await self._beats.aclose()
        await self.kill()

    def _status(self) -> HostStatus:
        return HostStatus(self._revision)

    async def _publish(self, event: events.Event) -> None:
        await self._events.publish(event)

    async def _ping(self, request: None, subject: object) -> CtlResponse[HostInfo]:
        return CtlResponse.ok(HostInfo(id=self.id, friendly_name=self.id.lower(), labels=self.labels))

    async def _get(self, request: None, subject: object) -> CtlResponse[HostInventory]:
        self.asked += 1
        return CtlResponse.ok(
            HostInventory(
                host_id=self.id,
                friendly_name=self.id.lower(),
                labels=self.labels,
                components=tuple(self.components.values()),
                providers=tuple(self.providers.values()),
            )
        )

    async def _scale(self, request: Scale, subject: object) -> CtlResponse[None]:
        self.scales.append(request)
        data = {
            "component_id": request.component_id,
            "host_id": self.id,
            "image_ref": request.component_ref,
            "max_instances": request.count,
            "annotations": request.annotations or {},
        }
        if request.count and (error := self.fail_components.get(request.component_id)) is not None:
            await self._publish(events.ComponentScaleFailed(**data, error=error))
            return CtlResponse.done()
        self._revision += 1
        if request.count:
            self.components[request.component_id] = ComponentDescription(
                id=request.component_id,
                image_ref=request.component_ref,
                annotations=request.annotations,
                max_instances=request.count,
            )
        else:
            self.components.pop(request.component_id, None)
        await self._publish(events.ComponentScaled(**data))
        return CtlResponse.done()

    async def _start_provider(self, request: StartProvider, subject: object) -> CtlResponse[None]:
        if request.provider_id in self.providers:
            raise Conflict("provider with that ID is already running")
        self._revision += 1
        self.providers[request.provider_id] = ProviderDescription(
            id=request.provider_id, image_ref=request.provider_ref, annotations=request.annotations
        )
        await self._publish(
            events.ProviderStarted(
                provider_id=request.provider_id,
                host_id=self.id,
                image_ref=request.provider_ref,
                annotations=request.annotations or {},
            )
        )
        return CtlResponse.done("successfully started provider")

    async def _stop_provider(self, request: StopProvider, subject: object) -> CtlResponse[None]:
        if self.providers.pop(request.provider_id, None) is None:
            raise NotFound("provider with that ID is not running")
        self._revision += 1
        stopped = events.ProviderStopped(
            provider_id=request.provider_id, host_id=self.id, annotations={}, reason="stop"
        )
        await self._publish(stopped)
        return CtlResponse.done("successfully stopped provider")

    async def _put_link(self, request: Link, subject: object) -> CtlResponse[None]:
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        for name in (*request.source_config, *request.target_config):
            if await self._configs.get(name, deadline=deadline) is None:
                raise ConfigError(f"Configuration {name} not found in config store. ")

        def add(payload: bytes | None) -> bytes:
            spec = ComponentSpec.from_json(payload) if payload else ComponentSpec()
            return ComponentSpec(url=spec.url, links=put_link(spec.links, request)).to_json()

        await modify(self._links, subjects.component_key(request.source_id), add, deadline=deadline)
        return CtlResponse.done("successfully set link")

    async def _delete_link(self, request: LinkId, subject: object) -> CtlResponse[None]:
        deadline = asyncio.get_running_loop().time() + TIMEOUT

        def remove(payload: bytes | None) -> bytes | None:
            if payload is None:
                return None
            spec = ComponentSpec.from_json(payload)
            return ComponentSpec(url=spec.url, links=remove_link(spec.links, request)[0]).to_json()

        await modify(self._links, subjects.component_key(request.source_id), remove, deadline=deadline)
        return CtlResponse.done("successfully deleted link")

    async def _put_config(self, request: dict[str, str], subject: subjects.ControlSubject) -> CtlResponse[None]:
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        await self._configs.put(subject.argument or "", encode_config(request), deadline=deadline)
        return CtlResponse.done("successfully put config")

    async def _delete_config(self, request: None, subject: subjects.ControlSubject) -> CtlResponse[None]:
        deadline = asyncio.get_running_loop().time() + TIMEOUT
        await self._configs.delete(subject.argument or "", deadline=deadline)
        return CtlResponse.done("successfully deleted config")

    async def config(self, name: str) -> dict[str, str] | None:
        """A stored config, for assertions."""
        entry = await self._configs.get(name, deadline=asyncio.get_running_loop().time() + TIMEOUT)
        return decode_config(entry.value, name) if entry else None

    async def links(self, source: str) -> list[tuple[str, str]]:
        """(link name, target) of a source's links, for assertions."""
        key = subjects.component_key(source)
        entry = await self._links.get(key, deadline=asyncio.get_running_loop().time() + TIMEOUT)
        return [(stored.name, stored.target) for stored in ComponentSpec.from_json(entry.value).links] if entry else []
