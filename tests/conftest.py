"""Fixtures that every room's tests share: one real NATS server per run, a lattice of its own per test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio

from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings

hypothesis.settings.register_profile("campaign", max_examples=5_000, deadline=None)
_lattices = count(1)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The url of a real NATS server with JetStream, shared by the whole run: never stop this one."""
    data_dir: Path = tmp_path_factory.mktemp("nats")
    with asyncio.Runner() as runner:
        server = runner.run(EmbeddedNats.start(NatsServerSettings(data_dir)))
        try:
            yield server.url
        finally:
            runner.run(server.stop())


@pytest.fixture
def lattice() -> str:
    """The name of a lattice that no other test uses."""
    return f"test-{next(_lattices)}"


@pytest_asyncio.fixture
async def connection(nats_server: str) -> AsyncIterator[Connection]:
    """A connection to the shared server."""
    connection = await Connection.connect(ConnectionSettings(urls=(nats_server,)), timeout=5)
    yield connection
    await connection.aclose()
