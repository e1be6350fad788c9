"""From conditions to states: of a scaler, and of an application (lattice-protocol 7.9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trellis_wadm.planner.desired import Application, ConfigScaler, LinkScaler, Scaler
from trellis_wadm.planner.result import ApplicationStatus, Condition, ScalerStatus, StatusType

__all__ = ["HIDDEN_KINDS", "NO_HOSTS", "UNDEPLOYED", "aggregate", "application_status", "scaler_status"]

NO_HOSTS = "Waiting for status: Lattice contains no hosts, deployment not started."
"""v1's text; its CLI shows it."""
UNDEPLOYED = "Manifest has been undeployed"
HIDDEN_KINDS = frozenset({"ConfigScaler", "ManifestProblem"})
"""v1 does not show these among the scalers of a status."""

_PRECEDENCE = (
    StatusType.FAILED,
    StatusType.UNDEPLOYED,
    StatusType.WAITING,
    StatusType.RECONCILING,
    StatusType.UNHEALTHY,
    StatusType.DEPLOYED,
)
_QUIET = ("rejected-",)
"""Conditions that explain another one, and are not repeated in its message."""


def aggregate(types: Iterable[StatusType]) -> StatusType:
    """The state of the whole: the worst of its parts; nothing at all is undeployed."""
    present = set(types)
    return next((kind for kind in _PRECEDENCE if kind in present), StatusType.UNDEPLOYED)


def scaler_status(scaler: Scaler, conditions: Sequence[Condition], busy: Sequence[str], hosts: int) -> ScalerStatus:
    """`busy` are descriptions of what is done about it now; `hosts` how many there are."""
    fatal = [condition for condition in conditions if condition.fatal]
    if hosts == 0 and any(condition.reason == "unsatisfied" for condition in fatal):
        kind, message = StatusType.WAITING, NO_HOSTS
    elif fatal:
        kind, message = StatusType.FAILED, _joined(condition.message for condition in fatal)
    elif conditions and not busy and all(condition.reason == "unhealthy" for condition in conditions):
        kind, message = StatusType.UNHEALTHY, _joined(condition.message for condition in conditions)
    elif busy or conditions:
        waiting = (c.message for c in conditions if not c.reason.startswith(_QUIET))
        kind, message = StatusType.RECONCILING, _joined([*busy, *waiting])
    else:
        kind, message = StatusType.DEPLOYED, ""
    return ScalerStatus(scaler.id, kind_of(scaler), scaler.name, kind, message, tuple(conditions))


def kind_of(scaler: Scaler) -> str:
    """The name of a scaler's kind, as v1 shows it."""
    if isinstance(scaler, ConfigScaler):
        return "ConfigScaler"
    if isinstance(scaler, LinkScaler):
        return "LinkScaler"
    return "DaemonScaler" if scaler.daemon else "SpreadScaler"


def application_status(app: Application, scalers: Sequence[ScalerStatus]) -> ApplicationStatus:
    """The state of an application from those of its scalers."""
    kind = aggregate(scaler.type for scaler in scalers)
    return ApplicationStatus(app.name, app.version, kind, _joined(scaler.message for scaler in scalers), tuple(scalers))


def _joined(messages: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(message for message in messages if message))
