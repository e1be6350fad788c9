"""When a deployment is over, and how it ended. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from trellis_wadm.api.messages import StatusReport
from trellis_wadm.planner.result import StatusType

__all__ = ["Verdict", "same_application", "verdict"]

_PLACED = ("SpreadScaler", "DaemonScaler")


class Verdict(enum.Enum):
    """`GOING` may still change by itself; the others are ends, `FAILED` and `PARTIAL` once they have lasted."""

    GOING = "going"
    DEPLOYED = "deployed"
    FAILED = "failed"
    PARTIAL = "partial"


def verdict(report: StatusReport, version: str) -> Verdict:
    """What a status says about the deployment of `version`. v1's scheduler does not say which version it means."""
    if report.version not in ("", version):
        return Verdict.GOING
    if report.type is StatusType.DEPLOYED:
        return Verdict.DEPLOYED
    if report.type is not StatusType.FAILED:
        return Verdict.GOING
    placed = any(scaler.kind in _PLACED and scaler.status.type is StatusType.DEPLOYED for scaler in report.scalers)
    return Verdict.PARTIAL if placed else Verdict.FAILED


def same_application(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two manifests ask for the same, whatever their versions are called."""
    return _unversioned(one) == _unversioned(other)


def _unversioned(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(manifest.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != "version"}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
