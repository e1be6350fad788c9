"""Why an application is as it is: for each component what each host was found to be, and what does not hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trellis_cli.output.plan import host_label, verdict_summary
from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align
from trellis_cli.output.unmet import Unmet, unmet_text
from trellis_wadm.planner.result import HostVerdict, Placement

__all__ = ["Asked", "Explanation", "SpreadFacts", "explanation_data", "explanation_text"]

_MAX_HOSTS = 50
"""Hosts that are printed of one spread; programs get all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the manifest says about one component: `trait` is `spreadscaler` or `daemonscaler`."""

    id: str
    component: str
    provider: bool
    trait: str
    instances: int
    image: str


@dataclass(frozen=True, slots=True)
class SpreadFacts:
    """One spread of a component, what was decided about each host, and what runs there now."""

    placement: Placement
    requirements: Mapping[str, str]
    running: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an application is as it is. `hypothetical`: it is not deployed, and this is what deploying would find."""

    name: str
    version: str
    state: str
    hypothetical: bool
    components: Sequence[tuple[Asked, Sequence[SpreadFacts]]]
    unmet: Sequence[Unmet]


def explanation_data(found: Explanation, names: Mapping[str, str]) -> dict[str, Any]:
    """What `-o json` prints."""
    return {
        "name": found.name,
        "version": found.version,
        "status": found.state,
        "deployed": not found.hypothetical,
        "components": [_component_data(asked, spreads, names) for asked, spreads in found.components],
        "unmet": [unmet.to_data() for unmet in found.unmet],
    }


def _component_data(asked: Asked, spreads: Sequence[SpreadFacts], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": asked.id,
        "component": asked.component,
        "kind": "provider" if asked.provider else "component",
        "trait": asked.trait,
        "instances": asked.instances,
        "image": asked.image,
        "spreads": [
            {
                "name": facts.placement.spread,
                "requirements": dict(facts.requirements),
                "wanted": facts.placement.wanted,
                "placed": sum(facts.placement.placed.values()),
                "summary": verdict_summary(facts.placement.verdicts),
                "hosts": [_host_data(facts, verdict, names) for verdict in facts.placement.verdicts],
            }
            for facts in spreads
        ],
    }


def _host_data(facts: SpreadFacts, verdict: HostVerdict, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "host": verdict.host,
        "host_name": names.get(verdict.host) or None,
        "accepted": verdict.accepted,
        "code": verdict.code,
        "reason": verdict.reason or None,
        "rule": verdict.rule or None,
        "placed": facts.placement.placed.get(verdict.host, 0),
        "running": facts.running.get(verdict.host, 0),
    }


def explanation_text(found: Explanation, names: Mapping[str, str], style: Style = PLAIN) -> str:
    """A table for each spread, and below everything that does not hold."""
    what = "is not deployed; if it were" if found.hypothetical else style.state(found.state)
    parts = [f"{style.bold(clean(found.name))} (version {clean(found.version)}): {what}\n"]
    for asked, spreads in found.components:
        parts.append(_component_text(asked, spreads, names, style))
    if found.unmet:
        parts.append(f"{style.bold('Not met:')}\n{unmet_text(found.unmet, style)}")
    return "\n".join(parts)


def _component_text(asked: Asked, spreads: Sequence[SpreadFacts], names: Mapping[str, str], style: Style) -> str:
    kind = "provider" if asked.provider else "component"
    unit = "host" if asked.provider else "instance"
    count = f"{asked.instances} {unit}{'' if asked.instances == 1 else 's'}"
    each = "each fitting host" if asked.provider else f"{count} on each fitting host"
    amount = each if asked.trait == "daemonscaler" else count
    text = f"{style.bold(clean(asked.id))}: {kind} {clean(asked.component)}, {asked.trait}, {amount}\n"
    if not spreads:
        return text + "  not placed at all: see below\n"
    for facts in spreads:
        text += _spread_text(facts, names, style)
    return text


def _spread_text(facts: SpreadFacts, names: Mapping[str, str], style: Style) -> str:
    placement = facts.placement
    asks = ", ".join(f"{key}={value}" for key, value in facts.requirements.items()) or "any host"
    placed = sum(placement.placed.values())
    short_of = placed < placement.wanted
    share = f"{placed} of {placement.wanted} placed"
    text = f"  spread {clean(placement.spread)} ({clean(asks)}): {style.red(share) if short_of else share}; "
    text += f"fits {clean(verdict_summary(placement.verdicts))}\n"
    ordered = sorted(placement.verdicts, key=lambda v: (-placement.placed.get(v.host, 0), not v.accepted, v.host))
    rows = [["    HOST", "VERDICT", "PLACED", "RUNS", "REASON"]]
    for verdict in ordered[:_MAX_HOSTS]:
        here, runs = placement.placed.get(verdict.host, 0), facts.running.get(verdict.host, 0)
        reason = verdict.reason or ("" if here else "not needed")
        verdict_word = "accepted" if verdict.accepted else "keeps" if here else "rejected"
        cells = (str(here) if here else "-", str(runs) if runs else "-")
        rows.append([f"    {host_label(verdict.host, names)}", verdict_word, *cells, reason])

    def paint(row: int, column: int, cell: str) -> str:
        if row == 0:
            return style.dim(cell)
        colour = {"accepted": style.green, "rejected": style.red}.get(cell)
        return colour(cell) if colour else cell

    hidden = len(ordered) - (len(rows) - 1)
    return text + align(rows, right=frozenset({2, 3}), paint=paint) + (f"    … and {hidden} more\n" if hidden else "")
