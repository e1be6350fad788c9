"""What does not hold of an application, one by one: what, where, since when, and when it is tried again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from trellis_cli.output.lattice import short_id
from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.times import age
from trellis_lattice.ids import short
from trellis_wadm.api.messages import StatusReport

__all__ = ["Unmet", "unmet_of", "unmet_text", "with_names"]

_EXPLAINING = "rejected-"
"""Reasons that explain another one: which host was rejected for what."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """One thing that does not hold. `reason` is a stable code, `part` the component, provider or link it is about.

    Times are RFC 3339; None where they are not known, or nothing is tried.
    """

    part: str
    reason: str
    message: str
    host: str | None = None
    host_name: str | None = None
    since: str | None = None
    next_attempt: str | None = None
    now: float | None = None
    """Seconds since 1970, from which ages are counted."""

    def to_data(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "now"}


def unmet_of(report: StatusReport, names: Mapping[str, str], now: float | None = None) -> list[Unmet]:
    """Everything that a status says does not hold, without repetitions. `names` of hosts by id."""
    found = [
        Unmet(
            part=scaler.name,
            reason=condition.reason,
            message=with_names(condition.message, names),
            host=condition.host,
            host_name=names.get(condition.host or "") or None,
            since=condition.since,
            next_attempt=condition.next_attempt,
            now=now,
        )
        for scaler in report.scalers
        for condition in scaler.conditions
    ]
    if not found:  # v1's scheduler knows messages only
        found = [
            Unmet(scaler.name, str(scaler.status.type), with_names(scaler.status.message, names), now=now)
            for scaler in report.scalers
            if scaler.status.message
        ]
    return list(dict.fromkeys(found))


def unmet_text(found: Iterable[Unmet], style: Style = PLAIN) -> str:
    """Two lines for each: the message, and below it the reason, where, since when and what comes next."""
    lines: list[str] = []
    for one in found:
        explains = one.reason.startswith(_EXPLAINING)
        message = clean(one.message)
        lead = "" if one.part in message else f"{clean(one.part)}: "
        indent = "      " if explains else "  "
        lines.append(f"{indent}{lead}{message}" if not explains else f"{indent}{_where(one)}: {message}")
        if not explains:
            lines.append(style.dim(f"    {_facts(one)}"))
    return "".join(f"{line}\n" for line in lines)


def with_names(text: str, names: Mapping[str, str]) -> str:
    """The text with the names of hosts instead of their ids, long or short."""
    for id, name in names.items():
        if name:
            text = text.replace(id, name).replace(short_id(id), name).replace(short(id), name)
    return text


def _where(one: Unmet) -> str:
    return clean(one.host_name or short(one.host or ""))


def _facts(one: Unmet) -> str:
    facts = [one.reason]
    if one.host is not None:
        facts.append(f"host {_where(one)}")
    if one.since:
        facts.append(f"since {_ago(one.since, one.now)}{clean(one.since)}")
    if one.next_attempt:
        facts.append(f"next attempt {_soon(one.next_attempt, one.now)}")
    return ", ".join(facts)


def _ago(when: str, now: float | None) -> str:
    """`2m10s ago, ` if both times are known."""
    then = _seconds(when)
    return f"{age(now - then)} ago, " if now is not None and then is not None else ""


def _soon(when: str, now: float | None) -> str:
    then = _seconds(when)
    if now is None or then is None:
        return f"at {clean(when)}"
    return f"in {age(then - now)}" if then - now >= 1 else "now"


def _seconds(when: str) -> float | None:
    try:
        read = datetime.fromisoformat(when)
    except ValueError:
        return None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
