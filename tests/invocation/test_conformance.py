"""The contract of `Invoker`, in the process and over NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.invocation.conformance import InvokerContract, Rig, RigMaker, Scripted
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.errors import DeadlineExceeded
from trellis_lattice.invocation.api import Call
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.invocation.server import LatticeServer


class InProcess:
    """The smallest invoker: calls the service."""

    def __init__(self, service: Scripted) -> None:
        self._service = service

    async def invoke(self, call: Call) -> Any:
        self._service.function_type(call.interface, call.function)
        if call.deadline <= asyncio.get_running_loop().time():
            raise DeadlineExceeded("The deadline has passed.")
        try:
            async with asyncio.timeout_at(call.deadline):
                return await self._service.serve(call)
        except TimeoutError:
            raise DeadlineExceeded("The deadline passed.") from None


class TestInProcess(InvokerContract):
    @pytest.fixture
    def rig(self) -> RigMaker:
        async def make(functions: Any) -> Rig:
            service = Scripted(functions)
            return Rig(InProcess(service), service)

        return make


class TestOverNats(InvokerContract):
    @pytest_asyncio.fixture
    async def rig(self, nats_server: str, lattice: str) -> AsyncIterator[RigMaker]:
        loop = asyncio.get_running_loop()
        settings = ConnectionSettings(urls=(nats_server,))
        near = await Connection.connect(settings, timeout=5)
        far = await Connection.connect(settings, timeout=5)
        server = await LatticeServer.start(far, lattice, "NFAR")
        invoker = LatticeInvoker(near, lattice)

        async def make(functions: Any) -> Rig:
            service = Scripted(functions)
            await server.serve("target", service)
            await far.flush(deadline=loop.time() + 5)
            return Rig(invoker, service)

        yield make
        await invoker.aclose()
        await server.aclose()
        assert not near._inboxes
        assert not far._inboxes
        await near.aclose()
        await far.aclose()
