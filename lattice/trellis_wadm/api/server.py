"""Serves the application API from shared state: any host of a lattice may answer (lattice-protocol 7.1)."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.bus.kv import KeyValueBucket
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.errors import NotFound, Overloaded, RequestInvalid, TrellisError
from trellis_wadm import naming
from trellis_wadm.api.messages import (
    ApplicationSummary,
    DeleteResult,
    DeployResult,
    HistoryReport,
    PutResult,
    StatusReport,
)
from trellis_wadm.api.requests import read_by, read_manifest, read_replace, read_version
from trellis_wadm.board import StatusBoard
from trellis_wadm.catalog import StoredApplication, check_deploy, check_undeploy
from trellis_wadm.history import Act, History
from trellis_wadm.manifest import Manifest
from trellis_wadm.planner.desired import unresolved_references
from trellis_wadm.planner.result import StatusType
from trellis_wadm.store import HistoryStore, ManifestStore

__all__ = ["WadmServer"]

_log = logging.getLogger("trellis.wadm")
_QUEUE = "wadm_server"
_TIMEOUT = 5.0
"""Seconds that one request may take."""
_MAX_CONCURRENT = 64

Reply = Mapping[str, Any] | list[Any]


class WadmServer:
    """Answers requests about the applications of one lattice."""

    def __init__(self, connection: Connection, lattice: str, bucket: KeyValueBucket) -> None:
        self._connection = connection
        self._lattice = lattice
        self._store = ManifestStore(bucket, lattice)
        self._board = StatusBoard(connection, lattice)
        self._history: HistoryStore | None = None
        self._subscription: Subscription | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._named: Mapping[str, Callable[[str, Message, float], Awaitable[Reply]]] = {
            "get": self._get,
            "versions": self._versions,
            "deploy": self._deploy,
            "undeploy": self._undeploy,
            "del": self._delete,
            "status": self._status,
        }

    async def start(self, *, deadline: float) -> None:
        """Listens; returns when the server knows of it."""
        await self._board.open(deadline=deadline)
        own = await open_bucket(self._connection, subjects.trellis_bucket(self._lattice), deadline=deadline)
        self._history = HistoryStore(own)
        subject = subjects.wadm_all(self._lattice)
        self._subscription = await self._connection.subscribe(subject, self._receive, queue=_QUEUE)
        await self._connection.flush(deadline=deadline)

    async def aclose(self) -> None:
        if self._subscription is not None:
            await self._subscription.unsubscribe()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _receive(self, message: Message) -> None:
        task = asyncio.create_task(self._serve(message, len(self._running) >= _MAX_CONCURRENT))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, message: Message, full: bool) -> None:
        try:
            if full:
                raise Overloaded("The scheduler is busy.", retry_after=1.0)
            reply = await self._answer(message, asyncio.get_running_loop().time() + _TIMEOUT)
        except TrellisError as error:
            reply = {"result": "error", "message": str(error), "error": error.to_wire()}
        except Exception as error:
            _log.exception("%s failed", message.subject)
            reply = {"result": "error", "message": f"The request failed: {error!r:.500}"}
        if message.reply:
            try:
                await self._connection.publish(message.reply, json.dumps(reply, ensure_ascii=False).encode())
            except TrellisError as error:
                _log.warning("No answer was sent to %s: %s", message.subject, error)

    async def _answer(self, message: Message, deadline: float) -> Reply:
        subject = subjects.parse_wadm(message.subject)
        if subject is None:
            raise RequestInvalid(f"Invalid subject: {message.subject}")
        if subject.name is None:
            if subject.operation == "put":
                return await self._put(message, deadline)
            if subject.operation == "list":
                return await self._summaries(deadline)
            if subject.operation == "get":
                return {
                    "result": "success",
                    "message": "Listed applications",
                    "models": await self._summaries(deadline),
                }
        elif (handler := self._named.get(subject.operation)) is not None:
            return await handler(subject.name, message, deadline)
        known = subject.operation in ("put", "list", *self._named)
        raise RequestInvalid(f"{'Invalid' if known else 'Unsupported'} subject: {message.subject}")

    async def _put(self, message: Message, deadline: float) -> Reply:
        manifest, findings = read_manifest(message.data, message.headers)
        if manifest.version is None:
            manifest = manifest.with_version(naming.ulid(time.time_ns() // 1_000_000, secrets.randbits(80)))
        version, replacing, existed = manifest.version or "", read_replace(message.headers), False
        if replacing:
            await self._check_replacement(manifest, deadline)

        def add(app: StoredApplication | None) -> StoredApplication:
            nonlocal existed
            existed = app is not None
            return (app or StoredApplication(manifest.name)).with_version(manifest, replacing=replacing)

        stored = await self._store.change(manifest.name, add, deadline=deadline)
        assert stored is not None
        await self._note(manifest.name, message, lambda known, act: known.with_put(version, act), deadline, stored)
        if replacing and stored.deployed_version == version:
            self._announce("manifest_published", manifest.to_wire())
        known = await self._latest(manifest, deadline)
        missing = unresolved_references(manifest, known)
        warning = f". Shared components are missing: {' '.join(missing)}" if missing else ""
        return PutResult(
            result="newversion" if existed else "created",
            name=manifest.name,
            current_version=version,
            total_versions=len(stored.manifests),
            message=f"Successfully put manifest {manifest.name} {version}{warning}",
            findings=tuple(findings),
        ).to_data()

    async def _check_replacement(self, manifest: Manifest, deadline: float) -> None:
        """What takes the place of a deployed version is in force at once, so it is judged as a deploy is."""
        stored = await self._store.all(deadline=deadline)
        app = stored.get(manifest.name)
        if app is not None and app.deployed_version == manifest.version:
            changed = app.with_version(manifest, replacing=True)
            check_deploy(manifest, {**stored, manifest.name: changed})

    async def _note(
        self,
        name: str,
        message: Message,
        change: Callable[[History, Act], History | None],
        deadline: float,
        stored: StoredApplication | None,
    ) -> None:
        """Writes down what was done. That it was done counts: what cannot be written down is only missing there."""
        act = Act(time.time(), read_by(message.headers))
        versions = stored.manifests.keys() if stored is not None else ()

        def changed(known: History) -> History | None:
            result = change(known, act)
            return result.only(versions) if result is not None else None

        assert self._history is not None
        try:
            await self._history.note(name, changed, deadline=deadline)
        except TrellisError as error:
            _log.warning("The history of application %s was not written: %s", name, error)

    async def _latest(self, manifest: Manifest, deadline: float) -> dict[str, Manifest]:
        """The applications that a manifest refers to, in their newest version."""
        known = {manifest.name: manifest}
        for component in manifest.spec.components:
            reference = component.properties.application
            if reference is not None and reference.name not in known:
                app = await self._store.get(reference.name, deadline=deadline)
                if app is not None and (found := app.manifest(app.latest)) is not None:
                    known[reference.name] = found
        return known

    async def _summaries(self, deadline: float) -> list[Any]:
        found: list[Any] = []
        for name, app in (await self._store.all(deadline=deadline)).items():
            report = await self._board.read(name, deadline=deadline) or StatusReport.waiting()
            latest = app.manifest(app.latest)
            summary = ApplicationSummary(
                name=name,
                version=app.latest or "",
                description=latest.description if latest else None,
                deployed_version=app.deployed_version,
                detailed_status=report,
                status=StatusType.UNDEPLOYED if report.type is StatusType.WAITING else report.type,
                status_message=report.status.message,
            )
            found.append(summary.to_data())
        return found

    async def _get(self, name: str, message: Message, deadline: float) -> Reply:
        app = await self._store.get(name, deadline=deadline)
        if app is None:
            return {"result": "notfound", "message": f"Model with the name {name} not found"}
        try:
            version = app.resolve(read_version(message.data))
        except NotFound as error:
            return {"result": "notfound", "message": str(error)}
        return {"result": "success", "message": f"Fetched model {name}", "manifest": app.manifests[version]}

    async def _versions(self, name: str, message: Message, deadline: float) -> Reply:
        app = await self._store.get(name, deadline=deadline)
        if app is None:
            return {"result": "notfound", "message": f"Model with the name {name} not found", "versions": []}
        assert self._history is not None
        report = HistoryReport.of(app, await self._history.read(name, deadline=deadline))
        text = f"Successfully fetched versions for model {name}"
        return {"result": "success", "message": text, **report.to_data()}

    async def _deploy(self, name: str, message: Message, deadline: float) -> Reply:
        wanted = read_version(message.data)
        stored = await self._store.all(deadline=deadline)
        if name not in stored:
            text = f"Model with the name {name} not found"
            return DeployResult(result="notfound", message=text, name=name).to_data()
        manifest = stored[name].manifest(stored[name].resolve(wanted))
        if manifest is None:
            raise RequestInvalid(f"The stored manifest of '{name}' cannot be read.", remedy="Put it again.", name=name)
        check_deploy(manifest, stored)

        def mark(app: StoredApplication | None) -> StoredApplication:
            if app is None:
                raise NotFound(f"Model with the name {name} not found", name=name)
            return app.with_deployed(app.resolve(manifest.version))

        changed = await self._store.change(name, mark, deadline=deadline)
        await self._note(name, message, lambda h, act: h.with_deployed(manifest.version, act), deadline, changed)
        self._announce("manifest_published", manifest.to_wire())
        text = f"Successfully deployed model {name} {manifest.version}"
        return DeployResult(result="acknowledged", message=text, name=name, version=manifest.version).to_data()

    async def _undeploy(self, name: str, message: Message, deadline: float) -> Reply:
        stored = await self._store.all(deadline=deadline)
        if name not in stored:
            text = f"Model with the name {name} not found"
            return DeployResult(result="notfound", message=text, name=name).to_data() | {"version": None}
        check_undeploy(name, stored)
        changed = await self._store.change(name, lambda app: app and app.with_deployed(None), deadline=deadline)
        await self._note(name, message, lambda h, act: h.with_deployed(None, act), deadline, changed)
        self._announce("manifest_unpublished", {"name": name})
        text = f"Manifest has been undeployed: {name}"
        return DeployResult(result="acknowledged", message=text, name=name).to_data() | {"version": None}

    async def _delete(self, name: str, message: Message, deadline: float) -> Reply:
        wanted = read_version(message.data)
        stored = await self._store.all(deadline=deadline)
        app = stored.get(name)
        if app is None or (wanted is not None and wanted not in app.manifests):
            self._announce("manifest_unpublished", {"name": name})
            what = f"version {wanted} of model {name}" if app and wanted else f"model {name}"
            return DeleteResult(result="noop", message=f"There is no {what}", undeploy=False).to_data()
        left = app.without(wanted) if wanted is not None else StoredApplication(name)
        undeploy = not left.manifests or (app.deployed_version is not None and left.deployed_version is None)
        if undeploy:
            check_undeploy(name, stored)

        def remove(current: StoredApplication | None) -> StoredApplication | None:
            if current is None or wanted is None:
                return None
            rest = current.without(wanted)
            return rest if rest.manifests else None

        rest = await self._store.change(name, remove, deadline=deadline)
        await self._note(name, message, lambda h, act: _forgotten(h, act, rest, undeploy), deadline, rest)
        if undeploy:
            self._announce("manifest_unpublished", {"name": name})
        text = f"Successfully deleted {f'version {wanted} of ' if wanted else ''}model {name}"
        return DeleteResult(result="deleted", message=text, undeploy=undeploy).to_data()

    async def _status(self, name: str, message: Message, deadline: float) -> Reply:
        report = await self._board.read(name, deadline=deadline)
        app = await self._store.get(name, deadline=deadline) if report is None else None
        if report is None:
            deployed = app is not None and app.deployed_version is not None
            report = StatusReport.waiting() if deployed else StatusReport.never_deployed()
        return {"result": "ok", "message": f"Successfully fetched status of {name}", "status": report.to_data()}

    def _announce(self, kind: str, data: Mapping[str, Any]) -> None:
        """Tells whoever listens that an application is to be looked at again, as v1 does."""
        event = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "type": f"com.wadm.{kind}",
            "source": "wadm",
            "datacontenttype": "application/json",
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "data": data,
        }
        self._connection.publish_soon(f"wadm.evt.{self._lattice}.{kind}", json.dumps(event).encode())


def _forgotten(known: History, act: Act, rest: StoredApplication | None, undeployed: bool) -> History | None:
    """The history after versions were deleted; it ends with the application."""
    if rest is None:
        return None
    return known.with_deployed(None, act) if undeployed else known
