"""A host with its reconciler, on connections of any kind, in this process."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.host.support import joined
from trellis_host.host import Host
from trellis_host.settings import HostSettings
from trellis_lattice.bus.connection import ConnectionSettings
from trellis_lattice.ids import HostKey
from trellis_wadm.reconciler import ReconcilerService


@asynccontextmanager
async def host_on(
    nats: ConnectionSettings, folder: Path, *, lattice: str = "default", name: str = "one"
) -> AsyncIterator[Host]:
    """A host that has joined and leaves, cleanly, at the end of the block."""
    key = HostKey.from_bytes(hashlib.sha256(f"{folder} {name}".encode()).digest())
    settings = HostSettings(
        key=key, friendly_name=name, cache_dir=folder / "cache", nats=nats, lattice=lattice, stop_grace=2.0
    )
    async with joined(Host(settings, services=[ReconcilerService(lattice, key.id, boot=1)])) as host:
        yield host
