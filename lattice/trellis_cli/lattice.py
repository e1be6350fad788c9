"""The lattice that a command talks to: which one, and what the CLI asks of it beyond the control operations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from trellis_cli.connecting import find_target
from trellis_cli.settings import Settings
from trellis_lattice.errors import NotFound
from trellis_lattice.subjects import CONTROL_PREFIX

if TYPE_CHECKING:
    from trellis_lattice.client import LatticeClient
    from trellis_lattice.control.host import HostInfo, HostInventory
    from trellis_lattice.links import Link

__all__ = ["Lattice", "open_lattice"]


class Lattice:
    """A connected lattice. `timeout` bounds each question, in seconds."""

    def __init__(self, client: LatticeClient, timeout: float) -> None:
        self.client = client
        self.timeout = timeout

    @property
    def name(self) -> str:
        return self.client.lattice

    async def hosts(self) -> list[HostInfo]:
        return await self.client.hosts(timeout=self.timeout)

    async def find_host(self, text: str) -> HostInfo:
        """The host that an id, the beginning of one, or a friendly name means. Raises `NotFound`, `Conflict`."""
        return await self.client.find_host(text, timeout=self.timeout)

    async def inventories(self, host: str | None = None) -> list[HostInventory]:
        """Of all hosts, or of the one that `host` means."""
        if host is None:
            return await self.client.inventories(timeout=self.timeout)
        found = await self.find_host(host)
        return [await self.client.inventory(found.id, timeout=self.timeout)]

    async def links(self) -> list[Link]:
        return await self.client.links(timeout=self.timeout)

    async def application_names(self) -> list[str]:
        """The applications that are stored; empty if no scheduler answers."""
        from trellis_lattice.errors import DeadlineExceeded, Unavailable
        from trellis_wadm.api import WadmClient

        deadline = asyncio.get_running_loop().time() + self.timeout
        try:
            found = await WadmClient(self.client.connection, self.name).applications(deadline=deadline)
        except (Unavailable, DeadlineExceeded):
            return []
        return [each.name for each in found]

    async def secrets(self) -> dict[str, dict[str, str]]:
        """All references to secrets, by the name of the configuration that holds each."""
        from trellis_lattice.config import is_secret

        return {name: values for name, values in (await self._stored_configs()).items() if is_secret(name)}

    async def configs(self, name: str | None = None) -> dict[str, dict[str, str]]:
        """All named configuration without secrets, or one. Raises `NotFound`."""
        if name is not None:
            values = await self.client.config(name, timeout=self.timeout)
            if values is None:
                raise NotFound(
                    f"There is no configuration `{name}` in lattice `{self.name}`.", remedy="List: trellis get config"
                )
            return {name: values}
        from trellis_lattice.config import is_secret

        return {name: values for name, values in (await self._stored_configs()).items() if not is_secret(name)}

    async def _stored_configs(self) -> dict[str, dict[str, str]]:
        from trellis_lattice.bus.kv_jetstream import open_bucket
        from trellis_lattice.config import decode_config
        from trellis_lattice.subjects import config_bucket

        deadline = asyncio.get_running_loop().time() + self.timeout
        connection, name = self.client.connection, config_bucket(self.name)
        try:
            bucket = await open_bucket(connection, name, deadline=deadline, create=False)
        except NotFound:
            return {}
        entries = await bucket.entries(deadline=deadline)
        return {name: decode_config(entry.value, name) for name, entry in entries.items()}


@asynccontextmanager
async def open_lattice(settings: Settings, timeout: float | None = None) -> AsyncIterator[Lattice]:
    """Connects, for the length of the block. Raises `Unavailable` or `Denied` with where it tried."""
    from trellis_lattice.client import LatticeClient

    target = find_target(settings)
    patience = timeout if timeout is not None else settings.patience()
    async with await LatticeClient.connect(
        target.connection("trellis-cli"),
        target.place.lattice,
        timeout=patience,
        control_prefix=target.control_prefix or CONTROL_PREFIX,
    ) as client:
        yield Lattice(client, patience)
