"""Hosts for tests: real ones, on a real NATS server, each in this process."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from trellis_host.host import Host
from trellis_host.settings import HostSettings
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.control import CtlResponse, component, config, link, provider
from trellis_lattice.control.operation import ControlOperation
from trellis_lattice.events import LatticeEvent
from trellis_lattice.events.feed import listen
from trellis_lattice.ids import HostKey
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.links import Link
from trellis_lattice.wit.types import FuncType
from trellis_provider_sdk import BoundListeners

PATIENCE = 20.0
"""Seconds after which a test gives up."""


async def eventually(condition: Callable[[], object]) -> None:
    """Returns once the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def soon(seconds: float = PATIENCE) -> float:
    return asyncio.get_running_loop().time() + seconds


def host_key(lattice: str, name: str = "one") -> HostKey:
    """The identity of a host of these tests."""
    return HostKey.from_bytes(hashlib.sha256(f"{lattice} {name}".encode()).digest())


@asynccontextmanager
async def running_host(
    url: str,
    lattice: str,
    folder: Path,
    *,
    name: str = "one",
    labels: Mapping[str, str] | None = None,
    max_in_flight: int = 64,
    settings_more: Mapping[str, Any] | None = None,
    stop_grace: float = 2.0,
    **more: Any,
) -> AsyncIterator[Host]:
    """A host that has joined; it stops, and must stop cleanly, when the block ends."""
    settings = HostSettings(
        key=host_key(lattice, name),
        friendly_name=name,
        cache_dir=folder / "cache",
        nats=ConnectionSettings(urls=(url,), name=name),
        lattice=lattice,
        labels=labels or {},
        stop_grace=stop_grace,
        max_in_flight=max_in_flight,
        **(settings_more or {}),
    )
    async with joined(Host(settings, **more)) as host:
        yield host


@asynccontextmanager
async def joined(host: Host) -> AsyncIterator[Host]:
    """Runs `host`: it has joined, and stops, and must stop cleanly, when the block ends."""
    life = asyncio.create_task(host.run(), name=f"host {host.settings.friendly_name}")
    ready = asyncio.create_task(host.ready.wait())
    try:
        await asyncio.wait((life, ready), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if life.done():
            life.result()
        assert host.ready.is_set()
        yield host
    finally:
        ready.cancel()
        host.request_stop()
        async with asyncio.timeout(PATIENCE):
            await life


class NotingListeners(BoundListeners):
    """Binds for itself and notes where, so that a test may ask for any free port."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[int] = []

    async def open(self, host: str, port: int) -> socket.socket:
        listener = await super().open(host, port)
        self.ports.append(listener.getsockname()[1])
        return listener


class Operator:
    """Asks hosts for things over the bus, as any client would, and remembers the events it hears."""

    def __init__(self, connection: Connection, lattice: str) -> None:
        self.connection = connection
        self.lattice = lattice
        self.events: list[LatticeEvent] = []
        self._heard = asyncio.Event()
        self.invoker = LatticeInvoker(connection, lattice)

    async def start(self) -> None:
        await listen(self.connection, self.lattice, self._on_event)
        await self.connection.flush(deadline=soon())

    def _on_event(self, event: LatticeEvent) -> None:
        self.events.append(event)
        self._heard.set()

    async def heard(self, kind: str, **data: Any) -> LatticeEvent:
        """Waits for an event, also one heard before; takes it out."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if event.kind == kind and all(event.data.get(key) == value for key, value in data.items()):
                        self.events.remove(event)
                        return event
                self._heard.clear()
                await self._heard.wait()

    async def ask(self, operation: ControlOperation[Any, Any], request: Any = None, to: str | None = None) -> Any:
        subject = operation.subject(self.lattice, to)
        answer = await self.connection.request(subject, operation.encode_request(request), deadline=soon())
        return operation.decode_response(answer.data)

    async def scale(self, host: Host, id: str, image: str, count: int = 10, **more: Any) -> CtlResponse[None]:
        request = component.Scale(component_id=id, component_ref=image, count=count, **more)
        answer: CtlResponse[None] = await self.ask(component.SCALE, request, host.state.host_id)
        return answer

    async def start_component(self, host: Host, id: str, image: str, count: int = 10, **more: Any) -> None:
        """Returns when it runs; fails with the reason if it does not."""
        await self.scale(host, id, image, count, **more)
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if event.data.get("component_id") == id and event.source == host.state.host_id:
                        self.events.remove(event)
                        assert event.kind == "component_scaled", event.data.get("error")
                        return
                self._heard.clear()
                await self._heard.wait()

    async def start_provider(self, host: Host, id: str, image: str, **more: Any) -> None:
        request = provider.StartProvider(provider_id=id, provider_ref=image, **more)
        answer = await self.ask(provider.START, request, host.state.host_id)
        assert answer.success, answer.message
        await self.heard("provider_started", provider_id=id)

    async def put_link(self, source: str, target: str, package: str, *interfaces: str, **more: Any) -> None:
        namespace, _, short = package.partition(":")
        request = Link(
            source_id=source,
            target=target,
            wit_namespace=namespace,
            wit_package=short,
            interfaces=interfaces,
            **more,
        )
        (await self.ask(link.PUT, request)).unwrap()

    async def put_config(self, name: str, **values: str) -> None:
        (await self.ask(config.PUT, values, name)).unwrap()

    async def call(self, target: str, interface: str, function: str, type: FuncType, *args: Any) -> Any:
        return await self.invoker.invoke(Call(target, interface, function, args, type, soon(), "test"))


def image(folder: Path, name: str, wasm: bytes) -> str:
    """A file reference to a component."""
    path = folder / f"{name}.wasm"
    path.write_bytes(wasm)
    return path.as_uri()
