"""A typed client of the application API; works with v1's wadm as well."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import NotFound, PeerMisbehaved, RequestInvalid, TrellisError, Unavailable, from_wire
from trellis_lattice.wire import WireModel
from trellis_wadm.api.messages import (
    BY_HEADER,
    REPLACE_HEADER,
    ApplicationSummary,
    DeleteResult,
    DeployResult,
    HistoryReport,
    PutResult,
    StatusReport,
    VersionInfo,
    status_subject,
)

__all__ = ["WadmClient"]

T = TypeVar("T", bound=WireModel)


class WadmClient:
    """Asks the schedulers of one lattice. Deadlines are absolute, on the event loop's clock.

    Every method raises `Unavailable` if no scheduler answers, `NotFound` for what does not exist, and the
    error of a refusal.
    """

    def __init__(self, connection: Connection, lattice: str = subjects.DEFAULT_LATTICE, *, by: str = "") -> None:
        """`by` says who asks: it is noted in the history of what is changed."""
        self._connection = connection
        self._lattice = lattice
        self._headers = {BY_HEADER: by} if by else {}

    async def put(self, manifest: str | bytes, *, deadline: float, replace: bool = False) -> PutResult:
        """Stores a manifest (YAML or JSON) as a new version. Raises `RequestInvalid` with `findings`, `Conflict`.

        `replace` lets it take the place of a version of that name, at once if that is deployed. v1's scheduler does
        not know this and refuses.
        """
        payload = manifest.encode() if isinstance(manifest, str) else manifest
        answer = await self._ask("put", None, payload, deadline, {REPLACE_HEADER: "true"} if replace else {})
        return self._read(PutResult, answer, "put")

    async def applications(self, *, deadline: float) -> list[ApplicationSummary]:
        answer = await self._ask("list", None, b"", deadline)
        if isinstance(answer, Mapping):
            self._refused(answer, "list")
        try:
            return TypeAdapter(list[ApplicationSummary]).validate_python(answer)
        except ValidationError as error:
            raise PeerMisbehaved(f"The scheduler's list cannot be read: {error.errors()[0]['msg']}.") from None

    async def get(self, name: str, version: str | None = None, *, deadline: float) -> dict[str, Any]:
        """The stored manifest, as data; the newest version unless one is named."""
        answer = await self._object("get", name, _body(version), deadline)
        manifest = answer.get("manifest")
        if not isinstance(manifest, dict):
            raise PeerMisbehaved("The scheduler sent no manifest.")
        return manifest

    async def versions(self, name: str, *, deadline: float) -> list[VersionInfo]:
        """In the order in which they were put."""
        return list((await self.history(name, deadline=deadline)).versions)

    async def history(self, name: str, *, deadline: float) -> HistoryReport:
        """The versions, and when each came and was deployed as far as that is known (v1's scheduler does not say)."""
        answer = await self._object("versions", name, b"", deadline)
        return self._read(HistoryReport, answer, "versions")

    async def deploy(self, name: str, version: str | None = None, *, deadline: float) -> DeployResult:
        """Makes a version the one that is to run. Raises `Conflict` if it cannot stand beside what is deployed."""
        answer = await self._object("deploy", name, _body(version), deadline)
        return self._read(DeployResult, answer, "deploy")

    async def undeploy(self, name: str, *, deadline: float) -> DeployResult:
        answer = await self._object("undeploy", name, b"{}", deadline)
        return self._read(DeployResult, answer, "undeploy")

    async def delete(self, name: str, version: str | None = None, *, deadline: float) -> DeleteResult:
        """Deletes a version, or all; `result` is `noop` if there was nothing to delete."""
        answer = await self._object("del", name, _body(version), deadline)
        return self._read(DeleteResult, answer, "del")

    async def status(self, name: str, *, deadline: float) -> StatusReport:
        answer = await self._object("status", name, b"", deadline)
        return self._read(StatusReport, answer.get("status"), "status")

    async def watch_status(self, name: str, callback: Callable[[StatusReport], None]) -> Subscription:
        """Calls the plain function `callback` for every change of an application's status."""

        def receive(message: Message) -> None:
            try:
                report = StatusReport.from_json(message.data)
            except RequestInvalid:
                return
            callback(report)

        return await self._connection.subscribe(status_subject(self._lattice, name), receive)

    async def _object(self, operation: str, name: str, payload: bytes, deadline: float) -> Mapping[str, Any]:
        answer = await self._ask(operation, name, payload, deadline)
        if not isinstance(answer, Mapping):
            raise PeerMisbehaved(f"The scheduler's answer to {operation} is not an object.")
        return answer

    async def _ask(
        self,
        operation: str,
        name: str | None,
        payload: bytes,
        deadline: float,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        subject = subjects.wadm(self._lattice, operation, name)
        said = {**self._headers, **(headers or {})}
        try:
            message = await self._connection.request(subject, payload, deadline=deadline, headers=said or None)
        except Unavailable as error:
            if error.fields.get("reason") != "no-answerer":
                raise
            raise Unavailable(
                f"No scheduler answered on lattice `{self._lattice}` (NATS {self._connection.url} is up).",
                remedy="Start one: trellis up",
                retry_after=1.0,
                reason="no-scheduler",
            ) from None
        try:
            answer = json.loads(message.data)
        except (ValueError, RecursionError):
            raise PeerMisbehaved(f"The scheduler's answer to {operation} is not JSON.") from None
        if isinstance(answer, Mapping) and answer.get("result") in ("error", "notfound"):
            self._refused(answer, operation)
        return answer

    def _refused(self, answer: Mapping[str, Any], operation: str) -> None:
        message = str(answer.get("message") or f"The scheduler refused {operation} without a reason.")
        if answer.get("error") is not None:
            raise from_wire(answer["error"])
        if answer.get("result") == "notfound":
            raise NotFound(message, operation=operation)
        raise TrellisError(message, operation=operation)

    def _read(self, model: type[T], answer: object, operation: str) -> T:
        try:
            return model.model_validate(answer)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise PeerMisbehaved(f"The scheduler's answer to {operation} cannot be read: {first['msg']}.") from None


def _body(version: str | None) -> bytes:
    return json.dumps({"version": version}).encode() if version is not None else b""
