"""What to say while a deployment goes on, when it is over, and how it ended. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

from trellis_cli.output.applications import condition_line, unmet
from trellis_wadm.api.messages import ConditionReport, StatusReport
from trellis_wadm.planner.result import StatusType

__all__ = ["DEPLOY_TIMEOUT", "News", "Verdict", "same_application", "verdict"]

DEPLOY_TIMEOUT = 180.0
"""Seconds to wait for a deployment: the first start of a component compiles it, which can take a minute."""
_SLOW = 1.0
"""Seconds after which something under way is worth a line."""
_ATTEMPT = re.compile(r"attempt \d+ of \d+ failed: ")
_SOON = ("in-progress", "moving", "unhealthy")

_UNPLACED = ("unsatisfied", "rejected-")
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
    if report.type is StatusType.UNHEALTHY:
        return Verdict.FAILED
    if report.type is not StatusType.FAILED:
        return Verdict.GOING
    placed = any(scaler.kind in _PLACED and scaler.status.type is StatusType.DEPLOYED for scaler in report.scalers)
    short_of_hosts = all(condition.reason.startswith(_UNPLACED) for condition in _of_failed(report))
    return Verdict.PARTIAL if placed and short_of_hosts else Verdict.FAILED


def _of_failed(report: StatusReport) -> list[ConditionReport]:
    """What is wrong with the parts that have failed. v1's scheduler does not say."""
    failed = [scaler for scaler in report.scalers if scaler.status.type is StatusType.FAILED]
    return [condition for scaler in failed for condition in scaler.conditions]


class News:
    """Which lines are worth reading during a deployment: each reason once, and what is under way once it lasts.

    What has failed for good is left to the end. `now` is in seconds of one clock.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._said: set[str] = set()

    def lines(self, report: StatusReport, now: float) -> list[str]:
        """What is new in this report."""
        if not report.version:  # v1's scheduler knows messages only
            fresh = [(line, line, 0.0) for line in unmet(report, since=False)]
        else:
            fresh = [
                (_ATTEMPT.sub("", condition.message), condition_line(scaler, condition), _patience(condition))
                for scaler in report.scalers
                for condition in scaler.conditions
                if condition.reason != "failed"
            ]
        found = []
        for key, line, patience in fresh:
            if now - self._since.setdefault(key, now) >= patience and key not in self._said:
                self._said.add(key)
                found.append(line)
        return found


def _patience(condition: ConditionReport) -> float:
    return _SLOW if condition.reason in _SOON else 0.0


def same_application(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two manifests ask for the same, whatever their versions are called."""
    return _unversioned(one) == _unversioned(other)


def _unversioned(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(manifest.get("metadata") or {})
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != "version"}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
