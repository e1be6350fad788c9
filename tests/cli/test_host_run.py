"""`trellis host run`: a host on its own."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from tests.cli.support import session
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.bus.settings import ConnectionSettings
from trellis_lattice.errors import Unavailable
from trellis_wadm.api import WadmClient

pytestmark = pytest.mark.journey


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_it_waits_for_nats_and_joins_when_it_comes(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("host", "run", "--nats-url", f"nats://127.0.0.1:{port}", "--data-dir", str(tmp_path / "host"))
    async with session(*arguments, home=tmp_path) as running:
        await running.until("connection refused. Trying again")
        nats = await EmbeddedNats.start(NatsServerSettings(data_dir=tmp_path / "nats", port=port), timeout=15)
        try:
            await running.until("joined lattice default")
            running.signal(signal.SIGINT)
            assert await running.ended() == 130
        finally:
            await nats.stop()


async def test_it_can_be_told_to_leave_while_it_waits(tmp_path: Path) -> None:
    arguments = ("host", "run", "--nats-url", "nats://127.0.0.1:1", "--data-dir", str(tmp_path / "host"))
    async with session(*arguments, home=tmp_path) as running:
        await running.until("Trying again")
        running.signal(signal.SIGINT)
        assert await running.ended() == 130


async def test_it_leaves_scheduling_to_others_if_told_so(nats_server: str, lattice: str, tmp_path: Path) -> None:
    arguments = ("host", "run", "--nats-url", nats_server, "--lattice", lattice, "--data-dir", str(tmp_path / "host"))
    connection = await Connection.connect(ConnectionSettings(urls=(nats_server,)), timeout=5)
    async with session(*arguments, "--no-scheduler", home=tmp_path) as running:
        await running.until(f"joined lattice {lattice}")
        with pytest.raises(Unavailable):
            await WadmClient(connection, lattice).applications(deadline=asyncio.get_running_loop().time() + 5)
        running.signal(signal.SIGINT)
        assert await running.ended() == 130
    await connection.aclose()
