"""The versions of an application, as people and programs read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trellis_cli.output.document import Column, Listing
from trellis_cli.output.times import age
from trellis_wadm.api.messages import HistoryReport, VersionInfo

__all__ = ["history_data", "history_listing"]


def history_listing(report: HistoryReport, now: float) -> Listing:
    """One row for each version, numbered as `rollback --to` counts. `now` in seconds since 1970."""
    infos = report.versions
    return Listing(
        key="revisions",
        columns=(
            Column("#", right=True),
            Column("version"),
            Column("status", state=True),
            Column("stored", narrow=True),
            Column("stored", wide=True),
            Column("last deployed", narrow=True),
            Column("last deployed", wide=True),
            Column("by"),
        ),
        rows=[
            (
                str(number),
                info.version,
                "deployed" if info.deployed else "-",
                _ago(info.put_at, now),
                info.put_at or "-",
                _ago(info.deployed_at, now),
                info.deployed_at or "-",
                info.deployed_by or info.put_by or "-",
            )
            for number, info in enumerate(infos, 1)
        ],
        items=[_item(number, info) for number, info in enumerate(infos, 1)],
        names=[info.version for info in infos],
    )


def _item(number: int, info: VersionInfo) -> dict[str, Any]:
    return {
        "number": number,
        "version": info.version,
        "deployed": info.deployed,
        "put_at": info.put_at,
        "put_by": info.put_by,
        "deployed_at": info.deployed_at,
        "deployed_by": info.deployed_by,
    }


def _ago(when: str | None, now: float) -> str:
    """`3h12m ago`; `-` if it is not known."""
    try:
        return f"{age(now - datetime.fromisoformat(when).timestamp())} ago" if when else "-"
    except ValueError:
        return "-"


def history_data(name: str, report: HistoryReport) -> dict[str, Any]:
    """What `-o json` says: the versions, and every deployment that is remembered."""
    return {
        "name": name,
        "revisions": [_item(number, info) for number, info in enumerate(report.versions, 1)],
        "deployments": [{"version": one.version, "at": one.at, "by": one.by} for one in report.deployments],
    }
