"""What a lattice tells as it happens, until Ctrl-C or the end of `--timeout`: names of hosts, and the reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from trellis_cli.output import Format
from trellis_lattice.errors import RequestInvalid, Unavailable

if TYPE_CHECKING:
    from trellis_cli.command import Cli
    from trellis_cli.lattice import Lattice

__all__ = ["check_stream_format", "host_names", "jsonl", "read", "runs_anywhere", "workloads_of"]

T = TypeVar("T")


def check_stream_format(cli: Cli) -> None:
    """Raises `RequestInvalid` for a format that holds one document only."""
    if cli.terminal.format in (Format.JSON, Format.YAML, Format.NAME):
        raise RequestInvalid(
            f"-o {cli.terminal.format} is one document; what follows has no end.", remedy="Use -o jsonl."
        )


async def read(cli: Cli, following: Callable[[], Awaitable[T]], show: Callable[[T], None]) -> None:
    """Shows one thing after the other, until `--timeout` is over; for ever without one."""
    try:
        async with asyncio.timeout(cli.settings.timeout):
            while True:
                show(await following())
    except TimeoutError:
        return


async def host_names(lattice: Lattice) -> dict[str, str]:
    """Friendly names by id. Raises `Unavailable` if there is no host: nobody could tell anything."""
    hosts = await lattice.hosts()
    if not hosts:
        raise Unavailable(
            f"No host answers in lattice `{lattice.name}`.",
            remedy="Start one: trellis up, or trellis host run.",
            reason="no-host",
        )
    return {host.id: host.friendly_name for host in hosts}


async def workloads_of(lattice: Lattice, name: str) -> frozenset[str]:
    """The ids that a name means: a component or provider, or all of an application; the name itself if none runs."""
    from trellis_wadm.naming import APP_ANNOTATION

    ids, of_application = set(), set()
    for host in await lattice.inventories():
        found = {item.id: item.annotations for item in host.components}
        found |= {item.id: item.annotations for item in host.providers}
        ids |= set(found)
        of_application |= {id for id, annotations in found.items() if (annotations or {}).get(APP_ANNOTATION) == name}
    return frozenset({name} if name in ids or not of_application else of_application)


async def runs_anywhere(lattice: Lattice, ids: frozenset[str]) -> bool:
    """Whether any host runs one of these components or providers."""
    for host in await lattice.inventories():
        if ids & {item.id for item in host.components} or ids & {item.id for item in host.providers}:
            return True
    return False


def jsonl(item: Mapping[str, Any]) -> str:
    """One thing as one line."""
    import json

    return json.dumps(item, ensure_ascii=False, default=str) + "\n"
