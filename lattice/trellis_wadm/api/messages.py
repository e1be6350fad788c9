"""The shapes of the application API (lattice-protocol 7.1, 7.9). Pure.

Ours, which v1 clients ignore: `findings` of a put, `error` of a refusal, `conditions` of a scaler's status, the times
of versions and the `deployments` of an application. Ours, which v1's scheduler ignores: the headers below.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field

from trellis_lattice.wire import WireModel
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.history import History
from trellis_wadm.planner.result import ApplicationStatus, ScalerStatus, StatusType
from trellis_wadm.planner.status import HIDDEN_KINDS, NO_HOSTS, UNDEPLOYED

__all__ = [
    "BY_HEADER",
    "REPLACE_HEADER",
    "ApplicationSummary",
    "ConditionReport",
    "DeleteResult",
    "DeployResult",
    "DeploymentInfo",
    "HistoryReport",
    "PutResult",
    "ScalerReport",
    "State",
    "StatusReport",
    "VersionInfo",
    "rfc3339",
    "status_subject",
]


BY_HEADER = "Trellis-By"
"""Who asks, in their own words; noted in the history."""
REPLACE_HEADER = "Trellis-Replace"
"""`true` lets a put take the place of a stored version of the same name."""


def rfc3339(seconds: float) -> str:
    """A time in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def status_subject(lattice: str, name: str) -> str:
    """Where the status of an application is published whenever it changes."""
    return f"wadm.status.{lattice}.{name}"


class _Message(WireModel):
    """Built on first use: every host imports this when it starts."""

    model_config = ConfigDict(defer_build=True)


class State(_Message):
    """A state and what there is to say about it."""

    type: StatusType
    message: str | None = None


class ConditionReport(_Message):
    """One thing that does not hold: a stable `reason`, where, and since when (RFC 3339)."""

    reason: str
    message: str
    host: str | None = None
    since: str | None = None
    next_attempt: str | None = None
    """When it is tried again (RFC 3339); absent while nothing is tried, or for good."""


class ScalerReport(_Message):
    id: str
    kind: str
    name: str
    status: State
    conditions: tuple[ConditionReport, ...] = ()


class StatusReport(_Message):
    """The status of an application; `version` is that of the manifest it speaks of (always empty in v1)."""

    status: State
    scalers: Annotated[tuple[ScalerReport, ...], Field(max_length=65536)] = ()
    version: str = ""
    components: tuple[Any, ...] = ()

    @property
    def type(self) -> StatusType:
        return self.status.type

    @property
    def message(self) -> str:
        return self.status.message or ""

    @property
    def conditions(self) -> list[ConditionReport]:
        """What does not hold yet, over all scalers."""
        return [condition for scaler in self.scalers for condition in scaler.conditions]

    @classmethod
    def of(cls, status: ApplicationStatus, epoch: float) -> Self:
        """`epoch` added to the times of the conditions gives seconds since 1970."""
        return cls(
            status=State(type=status.type, message=status.message or None),
            scalers=tuple(_scaler_report(scaler, epoch) for scaler in status.scalers if _is_shown(scaler)),
            version=status.version,
        )

    def continuing(self, earlier: StatusReport | None) -> StatusReport:
        """With the times at which conditions began that an earlier report had already, perhaps of another leader."""
        known = {
            (scaler.id, condition.reason, condition.host): condition.since
            for scaler in (earlier.scalers if earlier is not None else ())
            for condition in scaler.conditions
            if condition.since is not None
        }
        if not known:
            return self

        def since(scaler: ScalerReport, condition: ConditionReport) -> ConditionReport:
            began = known.get((scaler.id, condition.reason, condition.host))
            if began is None or condition.since is None or condition.since <= began:
                return condition
            return condition.model_copy(update={"since": began})

        scalers = tuple(
            scaler.model_copy(update={"conditions": tuple(since(scaler, each) for each in scaler.conditions)})
            for scaler in self.scalers
        )
        return self.model_copy(update={"scalers": scalers})

    @classmethod
    def undeployed(cls) -> Self:
        return cls(status=State(type=StatusType.UNDEPLOYED, message=UNDEPLOYED))

    @classmethod
    def never_deployed(cls) -> Self:
        return cls(status=State(type=StatusType.UNDEPLOYED))

    @classmethod
    def waiting(cls) -> Self:
        return cls(status=State(type=StatusType.WAITING, message=NO_HOSTS))


def _is_shown(scaler: ScalerStatus) -> bool:
    """Configs are shown only while something is wrong with them, as v1 hides them in what uses them."""
    return scaler.kind not in HIDDEN_KINDS or bool(scaler.conditions)


def _scaler_report(scaler: ScalerStatus, epoch: float) -> ScalerReport:
    conditions = tuple(
        ConditionReport(
            reason=condition.reason,
            message=condition.message,
            host=condition.host,
            since=rfc3339(epoch + condition.since),
            next_attempt=None if condition.until is None else rfc3339(epoch + condition.until),
        )
        for condition in scaler.conditions
    )
    state = State(type=scaler.type, message=scaler.message or None)
    return ScalerReport(id=scaler.id, kind=scaler.kind, name=scaler.name, status=state, conditions=conditions)


class ApplicationSummary(_Message):
    """One line of a list."""

    name: str
    version: str
    description: str | None = None
    deployed_version: str | None = None
    detailed_status: StatusReport
    status: StatusType
    status_message: str | None = None


class VersionInfo(_Message):
    """One stored version. Times are RFC 3339, absent where they are not known."""

    version: str
    deployed: bool
    put_at: str | None = None
    put_by: str | None = None
    deployed_at: str | None = None
    """When it was deployed last."""
    deployed_by: str | None = None


class DeploymentInfo(_Message):
    """A version became the one that is to run; without one: the application was undeployed."""

    version: str | None = None
    at: str
    by: str | None = None


class HistoryReport(_Message):
    """All versions in the order in which they were put, and the deployments from the oldest to the newest."""

    versions: Annotated[tuple[VersionInfo, ...], Field(max_length=65536)] = ()
    deployments: Annotated[tuple[DeploymentInfo, ...], Field(max_length=1024)] = ()

    @property
    def deployed(self) -> str | None:
        return next((info.version for info in self.versions if info.deployed), None)

    @classmethod
    def of(cls, app: StoredApplication, history: History) -> Self:
        versions = tuple(_version_info(version, app, history) for version in app.manifests)
        deployments = tuple(
            DeploymentInfo(version=one.version, at=rfc3339(one.act.at), by=one.act.by or None)
            for one in history.deployments
        )
        return cls(versions=versions, deployments=deployments)


def _version_info(version: str, app: StoredApplication, history: History) -> VersionInfo:
    put, deployed = history.puts.get(version), history.last_deployed(version)
    return VersionInfo(
        version=version,
        deployed=version == app.deployed_version,
        put_at=rfc3339(put.at) if put else None,
        put_by=(put.by or None) if put else None,
        deployed_at=rfc3339(deployed.at) if deployed else None,
        deployed_by=(deployed.by or None) if deployed else None,
    )


class PutResult(_Message):
    """`result`: `created`, `newversion` or `error`."""

    result: str
    name: str = ""
    current_version: str = ""
    total_versions: int = 0
    message: str = ""
    findings: tuple[dict[str, Any], ...] = ()


class DeployResult(_Message):
    """`result`: `acknowledged`, `notfound` or `error`; also the answer to an undeploy."""

    result: str
    message: str = ""
    name: str = ""
    version: str | None = None


class DeleteResult(_Message):
    """`result`: `deleted`, `noop` or `error`."""

    result: str
    message: str = ""
    undeploy: bool = False
