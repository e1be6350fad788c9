"""Calls between components in traces that are not recorded, which take the shortest way: no task where none waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fixtures import components
from tests.host.support import Operator, image, running_host, soon
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.errors import InvocationFailed, Unavailable
from trellis_lattice.invocation.api import Call
from trellis_lattice.tracing import Tracing
from trellis_lattice.tracing.w3c import parse_traceparent
from trellis_lattice.wit.types import FuncType, ListType, Primitive

PARENT = parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
TEXT = FuncType((("text", Primitive.STRING),), Primitive.STRING)
TIME = FuncType((("times", Primitive.U32), ("text", Primitive.STRING)), ListType(Primitive.U64))
SLEEP = FuncType((("ms", Primitive.U64),), Primitive.U64)
NOTHING = FuncType(())


async def test_calls_across_two_hosts(nats_server: str, lattice: str, tmp_path: Path) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two") as two,
    ):
        connection = await Connection.connect(ConnectionSettings((nats_server,)), timeout=5)
        operator = Operator(connection, lattice)
        try:
            await operator.start()
            await operator.put_link("many", "echo", "test:echo", "echo")
            await operator.start_component(one, "many", image(tmp_path, "many", components.call_many()), count=1)
            with Tracing().span("test", parent=PARENT):
                interface = components.STOPWATCH.name
                with pytest.raises(Unavailable):
                    await operator.call("many", interface, "time", TIME, 1, "nobody answers yet")
                await operator.start_component(two, "echo", image(tmp_path, "echo", components.echo()), count=1)
                assert len(await operator.call("many", interface, "time", TIME, 50, "x" * 64)) == 50
                assert len(await operator.call("many", interface, "time", TIME, 2, "x" * 20_000)) == 2
        finally:
            await operator.invoker.aclose()
            await connection.aclose()


async def test_a_slot_is_free_again_however_a_call_ends(nats_server: str, lattice: str, tmp_path: Path) -> None:
    async with running_host(nats_server, lattice, tmp_path) as host:
        connection = await Connection.connect(ConnectionSettings((nats_server,)), timeout=5)
        operator = Operator(connection, lattice)
        try:
            await operator.start()
            await operator.start_component(host, "faults", image(tmp_path, "faults", components.faults()), count=1)
            await operator.start_component(host, "sleeper", image(tmp_path, "sleeper", components.sleeper()), count=1)
            with Tracing().span("test", parent=PARENT):
                for _ in range(3):
                    with pytest.raises(InvocationFailed):
                        await operator.call("faults", components.FAULTS.name, "trap", NOTHING)
                sleep = ("sleeper", components.SLEEPER.name, "sleep", (60_000,), SLEEP, soon(), "test")
                waiting = asyncio.ensure_future(operator.invoker.begin(Call(*sleep)))
                await connection.flush(deadline=soon())
                waiting.cancel()
                assert await operator.call("sleeper", components.SLEEPER.name, "sleep", SLEEP, 1) == 1
        finally:
            await operator.invoker.aclose()
            await connection.aclose()
