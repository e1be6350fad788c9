"""Applications: lists, status, and what a deployment still waits for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trellis_cli.output.document import Column, Listing
from trellis_cli.output.lattice import short_id
from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align
from trellis_cli.output.unmet import Unmet, unmet_text
from trellis_lattice.ids import short
from trellis_wadm.api.messages import ApplicationSummary, ConditionReport, ScalerReport, StatusReport

__all__ = [
    "applications",
    "condition_line",
    "curl_commands",
    "failure_text",
    "manifest_text",
    "status_data",
    "status_text",
    "unmet",
]

_HOST_ID = re.compile(r"\bN[A-Z2-7]{55}\b")


def applications(found: Iterable[ApplicationSummary], lattice: str) -> Listing:
    """All stored applications, by name."""
    ordered = sorted(found, key=lambda app: app.name)
    return Listing(
        key="applications",
        columns=(
            Column("name"),
            Column("deployed version"),
            Column("latest version", wide=True),
            Column("status", state=True),
            Column("description"),
        ),
        rows=[
            (app.name, app.deployed_version or "-", app.version, _state(app), app.description or "") for app in ordered
        ],
        items=[app.model_dump(mode="json") for app in ordered],
        names=[app.name for app in ordered],
        empty=f"No application is stored in lattice `{lattice}`. Deploy one: trellis app deploy FILE.",
    )


def _state(app: ApplicationSummary) -> str:
    """v1's scheduler calls what was never deployed `waiting`."""
    return str(app.detailed_status.type) if app.deployed_version else "undeployed"


def status_data(name: str, report: StatusReport, unmet: Sequence[Unmet] = ()) -> dict[str, Any]:
    """What `-o json` says of one application's status; `unmet` is everything that does not hold, in one list."""
    return {
        "name": name,
        "version": report.version or None,
        "status": report.model_dump(mode="json"),
        "unmet": [one.to_data() for one in unmet],
    }


def status_text(name: str, report: StatusReport, unmet: Sequence[Unmet] = (), style: Style = PLAIN) -> str:
    """The state, a table of its parts, and everything that does not hold yet."""
    version = f" (version {clean(report.version)})" if report.version else ""
    lines = [f"{style.bold(clean(name))}{version}: {style.state(str(report.type))}"]
    if report.message and not unmet:
        lines.append(clean(report.message))
    text = "".join(f"{line}\n" for line in lines)
    if report.scalers:
        rows = [["KIND", "NAME", "STATUS"], *([s.kind, s.name, str(s.status.type)] for s in report.scalers)]

        def paint(row: int, column: int, cell: str) -> str:
            return style.bold(cell) if row == 0 else style.state(cell) if column == 2 else cell

        text += "\n" + align(rows, paint=paint)
    if unmet:
        text += f"\n{style.bold('Not met:')}\n{unmet_text(unmet, style)}"
    return text


def unmet(report: StatusReport, *, since: bool = True) -> list[str]:
    """One line for each thing that does not hold: what, why, where and since when; without repetitions."""
    lines = [
        condition_line(scaler, condition, since=since) for scaler in report.scalers for condition in scaler.conditions
    ]
    if not lines:  # v1's scheduler knows messages only
        lines = [f"{scaler.name}: {scaler.status.message}" for scaler in report.scalers if scaler.status.message]
    return list(dict.fromkeys(_shown(line) for line in lines))


def condition_line(scaler: ScalerReport, condition: ConditionReport, *, since: bool = False) -> str:
    """One thing that does not hold, with the part of the application it is about."""
    message = _condition(condition, since)
    return _shown(message if scaler.name in message else f"{scaler.name}: {message}")


def _shown(line: str) -> str:
    return _HOST_ID.sub(lambda id: short_id(id[0]), clean(line))


_ENDED = {"unhealthy": "is unhealthy", "failed": "has failed"}


def failure_text(name: str, report: StatusReport, *, partial: bool = False) -> tuple[str, str]:
    """What to say of a deployment that has ended badly: the message with every reason, and the remedy."""
    what = "runs only in part" if partial else _ENDED.get(str(report.type), f"is {report.type}")
    reasons = "".join(f"\n  {line}" for line in unmet(report, since=False))
    return (
        f"`{name}` {what}:{reasons or ' ' + clean(report.message)}",
        f"Mend that and deploy again, or take it away: trellis app undeploy {name}",
    )


def _condition(condition: ConditionReport, since: bool) -> str:
    """`message (host N…, since 2026-…)`, as far as that is known and not said already."""
    told = not condition.host or short(condition.host) in condition.message
    notes = [] if told else [f"host {condition.host}"]
    notes += [f"since {condition.since}"] if condition.since and since else []
    return condition.message + (f" ({', '.join(notes)})" if notes else "")


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """A stored manifest as YAML, in the order in which it was written."""
    import yaml

    text: str = yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True)
    return text


def curl_commands(routes: Sequence[tuple[str, str, str]]) -> list[str]:
    """How to try (address, path, host) routes; any-address is reached over the loopback."""
    commands = []
    for address, path, host in routes:
        machine, _, port = address.rpartition(":")
        reachable = "127.0.0.1" if machine in ("", "0.0.0.0", "*") else "[::1]" if machine == "[::]" else machine
        header = f" -H 'Host: {host}'" if host else ""
        commands.append(f"curl{header} http://{reachable}:{port}{path or '/'}")
    return commands
