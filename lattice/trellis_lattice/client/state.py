"""What the hosts of a lattice share: links, configuration, claims, credentials of registries."""

from __future__ import annotations

from collections.abc import Mapping

from trellis_lattice.client.asking import TIMEOUT, Asking
from trellis_lattice.config import ConfigMap
from trellis_lattice.control import claims, config, link
from trellis_lattice.control import registry as registries
from trellis_lattice.control.registry import RegistryCredential
from trellis_lattice.links import Link, LinkId

__all__ = ["State"]


class State(Asking):
    """What is asked about the shared state; any host answers."""

    async def links(self, *, timeout: float = TIMEOUT) -> list[Link]:
        """Every link of the lattice."""
        return await self._ask(link.GET, None, None, timeout) or []

    async def put_link(self, new: Link, *, timeout: float = TIMEOUT) -> str:
        """Raises `Conflict` if another target answers one of its interfaces, `ConfigError` for a missing config."""
        return await self._command(link.PUT, new, None, timeout)

    async def delete_link(self, id: LinkId, *, timeout: float = TIMEOUT) -> str:
        return await self._command(link.DEL, id, None, timeout)

    async def put_config(self, name: str, values: Mapping[str, str], *, timeout: float = TIMEOUT) -> str:
        return await self._command(config.PUT, dict(values), name, timeout)

    async def config(self, name: str, *, timeout: float = TIMEOUT) -> ConfigMap | None:
        """None if there is no config of that name."""
        return await self._ask(config.GET, None, name, timeout)

    async def delete_config(self, name: str, *, timeout: float = TIMEOUT) -> str:
        return await self._command(config.DEL, None, name, timeout)

    async def claims(self, *, timeout: float = TIMEOUT) -> list[dict[str, str]]:
        return await self._ask(claims.GET, None, None, timeout) or []

    async def put_registries(self, credentials: Mapping[str, RegistryCredential]) -> None:
        """Told to every host; none acknowledges."""
        payload = registries.PUT.encode_request(dict(credentials))
        await self.connection.publish(registries.PUT.subject(self.lattice, prefix=self._control_prefix), payload)
