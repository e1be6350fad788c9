"""Carries out commands, each within a deadline."""

from __future__ import annotations

from typing import assert_never

from trellis_lattice.client import LatticeClient
from trellis_lattice.links import LinkId
from trellis_wadm.planner.commands import (
    Command,
    DeleteConfig,
    DeleteLink,
    PrepareComponent,
    PutConfig,
    PutLink,
    ScaleComponent,
    StartProvider,
    StopProvider,
)

__all__ = ["Executor"]

_TIMEOUT = 2.0
_STOP_TIMEOUT = 10.0
"""Seconds; stopping a provider is answered only when it has ended."""


class Executor:
    """Sends commands as control operations."""

    def __init__(self, client: LatticeClient) -> None:
        self._client = client

    async def send(self, command: Command) -> None:
        """Returns when it was acknowledged. Raises what the host answers, or that none does."""
        client = self._client
        match command:
            case PutConfig(name, properties):
                await client.put_config(name, properties, timeout=_TIMEOUT)
            case DeleteConfig(name):
                await client.delete_config(name, timeout=_TIMEOUT)
            case PutLink(link):
                await client.put_link(link, timeout=_TIMEOUT)
            case DeleteLink():
                id = LinkId(
                    source_id=command.source_id,
                    name=command.name,
                    wit_namespace=command.wit_namespace,
                    wit_package=command.wit_package,
                )
                await client.delete_link(id, timeout=_TIMEOUT)
            case StartProvider():
                await client.start_provider(
                    command.host,
                    command.image,
                    command.id,
                    config=command.config,
                    annotations=command.annotations,
                    timeout=_TIMEOUT,
                )
            case StopProvider():
                await client.stop_provider(command.host, command.id, timeout=_STOP_TIMEOUT)
            case ScaleComponent():
                await client.scale_component(
                    command.host,
                    command.image,
                    command.id,
                    command.count,
                    annotations=command.annotations,
                    config=command.config,
                    limits=command.limits or None,
                    allow_update=command.allow_update,
                    timeout=_TIMEOUT,
                )
            case PrepareComponent(host, image):
                await client.prepare_component(host, image, timeout=_TIMEOUT)
            case _:
                assert_never(command)
