"""What the CLI does with applications: store, deploy and wait, undeploy and wait, delete.

The laws of this file: a file is validated here, before anything is sent, so that every finding has its line; the
same content is never stored twice; a wait says each new reason once and ends with its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from trellis_cli.lattice import Lattice, open_lattice
from trellis_cli.manifests import Source, sound_manifests
from trellis_cli.output.applications import unmet
from trellis_cli.output.unmet import with_names
from trellis_cli.rollout import News, Verdict, same_application, verdict
from trellis_lattice.errors import Conflict, DeadlineExceeded, NotFound, TrellisError, Unavailable
from trellis_wadm.api import ApplicationSummary, HistoryReport, PutResult, StatusReport, WadmClient
from trellis_wadm.catalog import dependents
from trellis_wadm.manifest.listeners import listeners
from trellis_wadm.observe import stored_applications
from trellis_wadm.planner.result import StatusType

if TYPE_CHECKING:
    from trellis_cli.settings import Settings
    from trellis_wadm.manifest import Manifest

__all__ = ["Applications", "Stored", "open_applications"]

T = TypeVar("T")

_REQUEST = 5.0
"""Seconds for one question."""
_SCHEDULER_COMES = 5.0
"""Seconds in which a lattice that has just started gets its scheduler."""
_POLL = 0.5
_LASTING = 1.5
"""Seconds after which a failed status counts: before that it may be of a moment, such as a host that just joined."""
_APP = "wasmcloud.dev/appspec"

Say = Callable[[str], None]
Seen = Callable[[StatusReport], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stored:
    """An application in the store. `routes`: (address, path, host) that it listens on, as far as is known."""

    name: str
    version: str
    changed: bool
    routes: tuple[tuple[str, str, str], ...] = ()


@asynccontextmanager
async def open_applications(settings: Settings) -> AsyncIterator[Applications]:
    """Connects to the lattice for the length of the block."""
    async with open_lattice(settings, _REQUEST) as lattice:
        yield Applications(lattice, min(_SCHEDULER_COMES, settings.patience(_SCHEDULER_COMES)))


class Applications:
    """The applications of a connected lattice."""

    def __init__(self, lattice: Lattice, patience: float = _SCHEDULER_COMES) -> None:
        """`patience`: seconds to wait for a scheduler where there is none."""
        self.lattice = lattice
        self._patience = patience
        self.client = WadmClient(lattice.client.connection, lattice.name, by=_who())
        self._names: dict[str, str] = {}

    async def put(self, source: Source, *, replace: bool = False) -> list[Stored]:
        """Stores what a source holds; with `replace` in the place of versions that are stored already.

        Raises `RequestInvalid` with every finding, `Conflict` for a taken version.
        """
        return [await self._put(wire, parsed.manifest, replace) for parsed, wire in sound_manifests(source)]

    async def _put(self, wire: Mapping[str, Any], manifest: Manifest | None, replace: bool) -> Stored:
        assert manifest is not None
        routes = tuple((route.address, route.path, route.host) for route in listeners(manifest))
        before = await self._stored(manifest.name, manifest.version)
        if before is not None and same_application(before, wire):
            return Stored(manifest.name, str(before["metadata"]["annotations"]["version"]), False, routes)
        taken = before is not None and manifest.version is not None
        if taken and not replace:
            raise Conflict(
                f"Version {manifest.version} of `{manifest.name}` is stored already, with another content.",
                remedy="Change the `version` annotation, leave it out (then every change gets a version of its own), "
                "or replace it: --replace.",
            )
        result = await self._replace(wire, manifest.name, manifest.version) if taken else await self._store(wire)
        return Stored(manifest.name, result.current_version, True, routes)

    async def _store(self, wire: Mapping[str, Any]) -> PutResult:
        return await self._asked(lambda deadline: self.client.put(json.dumps(wire), deadline=deadline))

    async def _replace(self, wire: Mapping[str, Any], name: str, version: str | None) -> PutResult:
        """In one step, so that nothing stops meanwhile; v1's scheduler has to forget the version first."""
        payload = json.dumps(wire)
        try:
            return await self._asked(lambda deadline: self.client.put(payload, deadline=deadline, replace=True))
        except TrellisError as error:
            if "already exists" not in error.message:
                raise
        await self.delete(name, version)
        return await self._store(wire)

    async def _stored(self, name: str, version: str | None) -> dict[str, Any] | None:
        """The manifest of this version (None: the newest) if there is one."""
        try:
            return await self._asked(lambda deadline: self.client.get(name, version, deadline=deadline))
        except NotFound:
            return None

    async def deploy(self, name: str, version: str | None) -> str:
        """Makes a version (None: the newest) the one that is to run; returns which one."""
        if version is None and await self._stored(name, None) is None:
            raise _unknown(name)
        result = await self._asked(lambda deadline: self.client.deploy(name, version, deadline=deadline))
        return result.version or version or ""

    async def status(self, name: str) -> StatusReport:
        """Raises `NotFound` for an application that is not stored."""
        report = await self._asked(lambda deadline: self.client.status(name, deadline=deadline))
        if not report.scalers and await self._stored(name, None) is None:
            raise _unknown(name)
        return report

    async def host_names(self, hosts: Iterable[str]) -> dict[str, str]:
        """Friendly names by id; of those that answer. Asks only about hosts that it has not met."""
        if not self._names.keys() >= set(hosts):
            self._names |= dict.fromkeys(hosts, "")
            self._names |= {info.id: info.friendly_name for info in await self.lattice.hosts()}
        return self._names

    async def named(self, text: str, report: StatusReport) -> str:
        """The text with the names of the hosts that a status speaks of."""
        hosts = {condition.host for condition in report.conditions if condition.host}
        return with_names(text, await self.host_names(hosts))

    async def until_deployed(
        self, name: str, version: str, say: Say, timeout: float, seen: Seen | None = None
    ) -> tuple[Verdict, StatusReport]:
        """Waits until it is deployed, or has failed for good, saying each new reason; `seen` gets each status.

        Raises `DeadlineExceeded` with what is missing, `Conflict` if somebody else deploys another version, undeploys
        or deletes it meanwhile.
        """
        news = asyncio.Event()
        subscription = await self.client.watch_status(name, lambda _: news.set())
        loop = asyncio.get_running_loop()
        told = News()
        failing_since, elsewhere_since, report = None, None, StatusReport.waiting()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    report = await self._asked(lambda deadline: self.client.status(name, deadline=deadline))
                    if seen is not None:
                        await seen(report)
                    now_is = verdict(report, version)
                    if now_is is Verdict.GOING and report.version in ("", version):
                        for line in told.lines(report, loop.time()):
                            say(await self.named(line, report))
                    if now_is is Verdict.DEPLOYED:
                        return now_is, report
                    if report.version in ("", version) and report.type is not StatusType.UNDEPLOYED:
                        elsewhere_since = None
                    elif elsewhere_since is None:
                        elsewhere_since = loop.time()
                    elif loop.time() - elsewhere_since >= _LASTING:
                        await self._refuse_replaced(name, version)
                    if now_is is Verdict.GOING:
                        failing_since = None
                    elif failing_since is None:
                        failing_since = loop.time()
                    elif loop.time() - failing_since >= _LASTING:
                        return now_is, report
                    await _first(news)
        except TimeoutError:
            raise _late(name, report, timeout, self._names) from None
        finally:
            await subscription.unsubscribe()

    async def _refuse_replaced(self, name: str, version: str) -> None:
        """Raises `Conflict` if `version` is not what is stored as deployed."""
        try:
            stored = (await self.history(name)).versions
        except NotFound:
            raise _replaced(name, version, "it was deleted meanwhile") from None
        now = next((each for each in stored if each.deployed), None)
        if now is None:
            raise _replaced(name, version, "it was undeployed meanwhile")
        if now.version != version:
            by = f" by {now.deployed_by}" if now.deployed_by else ""
            raise _replaced(name, version, f"version {now.version} was deployed meanwhile{by}")

    async def all(self) -> list[ApplicationSummary]:
        """Everything that is stored."""
        return await self._asked(lambda deadline: self.client.applications(deadline=deadline))

    async def deployed_names(self) -> list[str]:
        """What is deployed, those first that use parts of others: these cannot go before them."""
        stored = await stored_applications(self.lattice.client, deadline=asyncio.get_running_loop().time() + _REQUEST)
        left = {name: app for name, app in stored.items() if app.deployed_version is not None}
        ordered: list[str] = []
        while left:
            free = [name for name in sorted(left) if not dependents(name, left)] or sorted(left)
            ordered += free
            left = {name: app for name, app in left.items() if name not in free}
        return ordered

    async def undeployed_names(self) -> list[str]:
        return sorted(app.name for app in await self.all() if app.deployed_version is None)

    async def manifest(self, name: str, version: str | None) -> dict[str, Any]:
        """What is stored. Raises `NotFound`."""
        if version is not None and await self._stored(name, None) is None:
            raise _unknown(name)
        found = await self._stored(name, version)
        if found is None:
            raise _unknown(name) if version is None else _no_version(name, version)
        return found

    async def history(self, name: str) -> HistoryReport:
        """Its versions and deployments. Raises `NotFound` for an application that is not stored."""
        try:
            return await self._asked(lambda deadline: self.client.history(name, deadline=deadline))
        except NotFound:
            raise _unknown(name) from None

    async def delete(self, name: str, version: str | None) -> bool:
        """Removes a version (None: all); False if there was nothing."""
        result = await self._asked(lambda deadline: self.client.delete(name, version, deadline=deadline))
        return result.result != "noop"

    async def undeploy(self, name: str) -> None:
        """Raises `NotFound` for an application that is not stored."""
        if await self._stored(name, None) is None:
            raise _unknown(name)
        await self._asked(lambda deadline: self.client.undeploy(name, deadline=deadline))

    async def until_gone(self, name: str, say: Say, timeout: float) -> None:
        """Waits until nothing of an application runs. Raises `DeadlineExceeded` with what still does."""
        left: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                while left := await self._running(name):
                    say(f"Still running: {', '.join(left)}")
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise DeadlineExceeded(
                f"`{name}` is undeployed, but after {timeout:g} s there still runs: {', '.join(left)}.",
                remedy=f"The hosts are still at it: trellis get components. Reasons: trellis app status {name}",
            ) from None

    async def _running(self, name: str) -> list[str]:
        inventories = await self.lattice.inventories()
        components = [(item.id, item.annotations) for host in inventories for item in host.components]
        providers = [(item.id, item.annotations) for host in inventories for item in host.providers]
        return sorted({id for id, annotations in [*components, *providers] if (annotations or {}).get(_APP) == name})

    async def _asked(self, question: Callable[[float], Awaitable[T]]) -> T:
        """The answer; a scheduler that is not there yet is waited for, for a moment."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._patience
        while True:
            try:
                return await question(loop.time() + _REQUEST)
            except Unavailable as error:
                if error.fields.get("reason") != "no-scheduler" or loop.time() > patience:
                    raise
            await asyncio.sleep(0.1)


def _who() -> str:
    """Who runs this command, for the history."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a user id without a name
        return f"{os.getuid()}@{socket.gethostname()}"


def _replaced(name: str, version: str, how: str) -> Conflict:
    return Conflict(
        f"`{name}` version {version} is no longer wanted: {how}.",
        remedy=f"Who and when: trellis app history {name}. To have it all the same, deploy it again.",
    )


def _no_version(name: str, version: str) -> NotFound:
    return NotFound(f"Application `{name}` has no version {version}.", remedy=f"Newest: trellis app get {name}")


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no application `{name}`.", remedy="List: trellis app list")


async def _first(news: asyncio.Event) -> None:
    """Returns at the next news, or after a while without any."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_POLL):
            await news.wait()
    news.clear()


def _late(name: str, report: StatusReport, timeout: float, names: Mapping[str, str]) -> DeadlineExceeded:
    missing = [with_names(line, names) for line in unmet(report, since=False)]
    listed = "\n" + "\n".join(f"  {line}" for line in missing) if missing else ""
    return DeadlineExceeded(
        f"`{name}` is still {report.type} after {timeout:g} s.{listed}",
        remedy=f"It goes on by itself. Look again: trellis app status {name}",
        unmet=missing,
    )
