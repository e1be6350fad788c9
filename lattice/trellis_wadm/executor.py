"""Carries out the steps of a plan: stage by stage, a bounded number at a time, each within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_never

from trellis_lattice.client import LatticeClient
from trellis_lattice.errors import TrellisError
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
from trellis_wadm.planner.result import Plan, Step

__all__ = ["Executor"]

_CONCURRENT = 16
_TIMEOUT = 2.0
_STOP_TIMEOUT = 10.0
"""Seconds; stopping a provider is answered only when it has ended."""


class Executor:
    """Sends commands as control operations, as long as `may_act` says that we may."""

    def __init__(self, client: LatticeClient, may_act: Callable[[], bool] = lambda: True) -> None:
        self._client = client
        self._may_act = may_act

    async def run(
        self, plan: Plan, before: Callable[[Step], None], after: Callable[[Step, TrellisError | None], None]
    ) -> None:
        """Every step whose needs were met; `before` and `after` hear of each one that is carried out."""
        failed: set[str] = set()
        limit = asyncio.Semaphore(_CONCURRENT)

        async def carry_out(step: Step) -> None:
            async with limit:
                if not self._may_act():
                    failed.add(step.key)
                    return
                before(step)
                try:
                    await self._send(step.command)
                except TrellisError as error:
                    failed.add(step.key)
                    after(step, error)
                else:
                    after(step, None)

        for stage, steps in plan.stages():
            async with asyncio.TaskGroup() as tasks:
                for step in steps:
                    if step.needs & failed:
                        failed.add(step.key)
                    else:
                        tasks.create_task(carry_out(step), name=f"{stage} {step.key}")

    async def _send(self, command: Command) -> None:
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
