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
from trellis_lattice.errors import NotFound, Overloaded, RequestInvalid, TrellisError
from trellis_wadm import naming
from trellis_wadm.api.messages import (
    ApplicationSummary,
    DeleteResult,
    DeployResult,
    PutResult,
    StatusReport,
    VersionInfo,
)
from trellis_wadm.board import StatusBoard
from trellis_wadm.catalog import StoredApplication, check_deploy, check_undeploy
from trellis_wadm.manifest import Manifest, errors, parse_manifests
from trellis_wadm.manifest.source import MAX_BYTES
from trellis_wadm.planner.desired import unresolved_references
from trellis_wadm.planner.result import StatusType
from trellis_wadm.store import ManifestStore

__all__ = ["WadmServer"]

_log = logging.getLogger("trellis.wadm")
_QUEUE = "wadm_server"
_TIMEOUT = 5.0
"""Seconds that one request may take."""
_CONTENT_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "application/json")
_MAX_CONCURRENT = 64

Reply = Mapping[str, Any] | list[Any]


class WadmServer:
    """Answers requests about the applications of one lattice."""

    def __init__(self, connection: Connection, lattice: str, bucket: KeyValueBucket) -> None:
        self._connection = connection
        self._lattice = lattice
        self._store = ManifestStore(bucket, lattice)
        self._board = StatusBoard(connection, lattice)
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
        manifest, findings = _read(message)
        if manifest.version is None:
            manifest = manifest.with_version(naming.ulid(time.time_ns() // 1_000_000, secrets.randbits(80)))
        existed = False

        def add(app: StoredApplication | None) -> StoredApplication:
            nonlocal existed
            existed = app is not None
            return (app or StoredApplication(manifest.name)).with_version(manifest)

        stored = await self._store.change(manifest.name, add, deadline=deadline)
        assert stored is not None
        known = await self._latest(manifest, deadline)
        missing = unresolved_references(manifest, known)
        warning = f". Shared components are missing: {' '.join(missing)}" if missing else ""
        return PutResult(
            result="newversion" if existed else "created",
            name=manifest.name,
            current_version=manifest.version or "",
            total_versions=len(stored.manifests),
            message=f"Successfully put manifest {manifest.name} {manifest.version}{warning}",
            findings=tuple(findings),
        ).to_data()

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
            version = app.resolve(_version(message))
        except NotFound as error:
            return {"result": "notfound", "message": str(error)}
        return {"result": "success", "message": f"Fetched model {name}", "manifest": app.manifests[version]}

    async def _versions(self, name: str, message: Message, deadline: float) -> Reply:
        app = await self._store.get(name, deadline=deadline)
        if app is None:
            return {"result": "notfound", "message": f"Model with the name {name} not found", "versions": []}
        versions = [
            VersionInfo(version=version, deployed=version == app.deployed_version).to_data()
            for version in app.manifests
        ]
        return {"result": "success", "message": f"Successfully fetched versions for model {name}", "versions": versions}

    async def _deploy(self, name: str, message: Message, deadline: float) -> Reply:
        wanted = _version(message)
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

        await self._store.change(name, mark, deadline=deadline)
        self._announce("manifest_published", manifest.to_wire())
        text = f"Successfully deployed model {name} {manifest.version}"
        return DeployResult(result="acknowledged", message=text, name=name, version=manifest.version).to_data()

    async def _undeploy(self, name: str, message: Message, deadline: float) -> Reply:
        stored = await self._store.all(deadline=deadline)
        if name not in stored:
            text = f"Model with the name {name} not found"
            return DeployResult(result="notfound", message=text, name=name).to_data() | {"version": None}
        check_undeploy(name, stored)
        await self._store.change(name, lambda app: app and app.with_deployed(None), deadline=deadline)
        self._announce("manifest_unpublished", {"name": name})
        text = f"Manifest has been undeployed: {name}"
        return DeployResult(result="acknowledged", message=text, name=name).to_data() | {"version": None}

    async def _delete(self, name: str, message: Message, deadline: float) -> Reply:
        wanted = _version(message)
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

        await self._store.change(name, remove, deadline=deadline)
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


def _read(message: Message) -> tuple[Manifest, list[dict[str, Any]]]:
    """The manifest of a put, and its warnings. Raises `RequestInvalid` with the first error's text."""
    headers = {key.lower(): value for key, value in (message.headers or {}).items()}
    content_type = headers.get("content-type", "application/yaml").partition(";")[0].strip().lower()
    if content_type not in _CONTENT_TYPES:
        raise RequestInvalid(f"Unsupported content type: {content_type}", remedy=f"Use {_CONTENT_TYPES[0]}.")
    if len(message.data) > MAX_BYTES:
        raise RequestInvalid(f"The manifest has {len(message.data)} bytes; the limit is {MAX_BYTES}.")
    documents = parse_manifests(message.data)
    if len(documents) > 1:
        raise RequestInvalid("There is more than one document.", remedy="Put each application by itself.")
    parsed = documents[0]
    findings = [finding.to_json() for finding in parsed.findings]
    if not parsed.ok or parsed.manifest is None:
        raise RequestInvalid(str(errors(parsed.findings)[0]), findings=findings)
    return parsed.manifest, findings


def _version(message: Message) -> str | None:
    """The version that a request names, if any."""
    if not message.data.strip():
        return None
    try:
        body = json.loads(message.data)
    except (ValueError, RecursionError):
        raise RequestInvalid("The request is not JSON.") from None
    version = body.get("version") if isinstance(body, dict) else None
    if version is not None and not isinstance(version, str):
        raise RequestInvalid("The version must be text.")
    return version
