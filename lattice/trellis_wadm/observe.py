"""A look at a lattice from outside of its scheduler: what `plan` needs, for `trellis app plan` and `trellis app why`.

The laws of this file: nothing is changed; everything is read at the same time and before the caller's deadline; a host
that does not answer is part of the picture, with that as its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Message
from trellis_lattice.bus.kv import Entry
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.membership import Beat
from trellis_lattice.client import LatticeClient
from trellis_lattice.config import decode_config
from trellis_lattice.control.host import HostInventory
from trellis_lattice.errors import DeadlineExceeded, NotFound, TrellisError, Unavailable
from trellis_lattice.links import ComponentSpec, Link
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.inventory import host_of
from trellis_wadm.ledger import KEY, Ledger
from trellis_wadm.planner.world import Host, Observed
from trellis_wadm.store import BUCKET, ManifestStore

__all__ = ["Sight", "observe", "stored_applications"]

_log = logging.getLogger("trellis.wadm")
_COMPONENT = "COMPONENT_"
_CONCURRENT = 64
"""Inventories that are asked for at the same time."""
_OURS = ("host.impl", "trellis")
"""The label of hosts that send beats."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A lattice at one moment: what is, and the applications that are stored."""

    observed: Observed
    applications: Mapping[str, StoredApplication]

    @property
    def host_names(self) -> dict[str, str]:
        """Friendly names by id, of the hosts that have one."""
        return {host.id: host.name for host in self.observed.hosts.values() if host.name}


async def observe(client: LatticeClient, *, deadline: float, listen: float = 0.0) -> Sight:
    """Looks at everything. `deadline` is absolute, on the event loop's clock.

    With `listen` (seconds) it waits at most so long for a beat of each host, which tells its load. Raises
    `Unavailable` or `DeadlineExceeded` if what is stored cannot be read; a lattice without hosts is no error.
    """
    beats: dict[str, Beat] = {}
    heard = asyncio.Event()

    def receive(message: Message) -> None:
        address = subjects.parse_beat(message.subject)
        beat = Beat.decode(message.data, address[1]) if address is not None else None
        if beat is not None:
            beats[beat.host] = beat
            heard.set()

    subscription = await client.connection.subscribe(subjects.beats(client.lattice), receive)
    listened_until = asyncio.get_running_loop().time() + listen
    try:
        async with asyncio.TaskGroup() as tasks:
            links = tasks.create_task(_links(client, deadline), name="read links")
            configs = tasks.create_task(_configs(client, deadline), name="read configs")
            applications = tasks.create_task(stored_applications(client, deadline=deadline), name="read applications")
            ledger = tasks.create_task(_ledger(client, deadline), name="read ledger")
            hosts = tasks.create_task(_hosts(client, ledger, deadline), name="read hosts")
        ours = {id for id, found in hosts.result().items() if isinstance(found, HostInventory) and _is_ours(found)}
        if len(ours) > 1:  # one host need not be compared with others
            await _until_heard(beats, ours, heard, listened_until)
    except ExceptionGroup as group:
        raise _first(group) from None
    finally:
        await subscription.unsubscribe()
    known = {id: _host(id, inventory, beats.get(id)) for id, inventory in hosts.result().items()}
    observed = Observed(known, links.result(), configs.result(), ledger.result().owned)
    return Sight(observed, applications.result())


def _host(id: str, found: HostInventory | bool, beat: Beat | None) -> Host:
    """`found`: its inventory; else whether it may be there all the same."""
    if isinstance(found, bool):
        return Host(id, live=found, known=False)
    if beat is None:
        return host_of(found)
    return host_of(found, draining=beat.draining, load=beat.load, memory=beat.memory)


def _is_ours(inventory: HostInventory) -> bool:
    return _OURS in inventory.labels.items()


async def _until_heard(beats: Mapping[str, Beat], wanted: set[str], heard: asyncio.Event, until: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            while not wanted <= beats.keys():
                heard.clear()
                await heard.wait()


async def _hosts(
    client: LatticeClient, ledger: asyncio.Task[Ledger], deadline: float
) -> dict[str, HostInventory | bool]:
    """The inventory of each host; of one that gives none: whether it may live."""
    answered = {info.id for info in await client.hosts(timeout=_left(deadline))}
    limit = asyncio.Semaphore(_CONCURRENT)
    found: dict[str, HostInventory | bool] = {}

    async def ask(id: str) -> None:
        async with limit:
            try:
                found[id] = await client.inventory(id, timeout=_left(deadline))
            except Unavailable:
                found[id] = False
            except DeadlineExceeded:
                found[id] = id in answered
            except TrellisError as error:
                _log.warning("The inventory of host %s cannot be read: %s", id, error)
                found[id] = True

    async with asyncio.TaskGroup() as tasks:
        # Those that were there a moment ago may be busy, or gone: asking tells.
        for id in sorted(answered | (await ledger).hosts):
            tasks.create_task(ask(id), name=f"inventory of {id}")
    return found


async def _entries(client: LatticeClient, bucket: str, deadline: float) -> dict[str, Entry]:
    """What is in a bucket; nothing if nobody has made it yet."""
    try:
        opened = await open_bucket(client.connection, bucket, deadline=deadline, create=False)
    except NotFound:
        return {}
    return await opened.entries(deadline=deadline)


async def _links(client: LatticeClient, deadline: float) -> tuple[Link, ...]:
    found: list[Link] = []
    for key, entry in sorted((await _entries(client, subjects.lattice_bucket(client.lattice), deadline)).items()):
        if not key.startswith(_COMPONENT):
            continue
        try:
            found += ComponentSpec.from_json(entry.value).links
        except TrellisError as error:
            _log.warning("The links of %s cannot be read: %s", key.removeprefix(_COMPONENT), error)
    return tuple(found)


async def _configs(client: LatticeClient, deadline: float) -> dict[str, Mapping[str, str]]:
    found: dict[str, Mapping[str, str]] = {}
    for key, entry in (await _entries(client, subjects.config_bucket(client.lattice), deadline)).items():
        try:
            found[key] = decode_config(entry.value, key)
        except TrellisError as error:
            _log.warning("The config %s cannot be read: %s", key, error)
    return found


async def stored_applications(client: LatticeClient, *, deadline: float) -> dict[str, StoredApplication]:
    """Every stored application by name, read without a scheduler; none if nobody has stored one."""
    try:
        bucket = await open_bucket(client.connection, BUCKET, deadline=deadline, create=False)
    except NotFound:
        return {}
    return await ManifestStore(bucket, client.lattice).all(deadline=deadline)


async def _ledger(client: LatticeClient, deadline: float) -> Ledger:
    name = subjects.trellis_bucket(client.lattice)
    try:
        bucket = await open_bucket(client.connection, name, deadline=deadline, create=False)
    except NotFound:
        return Ledger()
    entry = await bucket.get(KEY, deadline=deadline)
    return Ledger.decode(entry.value) if entry else Ledger()


def _left(deadline: float) -> float:
    return max(0.05, deadline - asyncio.get_running_loop().time())


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
