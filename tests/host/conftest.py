"""An operator for each test of the host."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.host.support import Operator
from trellis_lattice.bus.connection import Connection


@pytest_asyncio.fixture
async def operator(connection: Connection, lattice: str) -> AsyncIterator[Operator]:
    operator = Operator(connection, lattice)
    await operator.start()
    yield operator
    await operator.invoker.aclose()
