"""A plan, as people and programs read it: what would be done in which order, where, why, and what stands against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align
from trellis_lattice.ids import short
from trellis_wadm.planner.commands import Command, PutLink, ScaleComponent, StartProvider, command_host, describe
from trellis_wadm.planner.result import HostVerdict, Placement, Step
from trellis_wadm.preview import Preview, Problem, Transition

__all__ = ["host_label", "plan_data", "plan_lines", "plan_text", "step_text", "verdict_summary"]

_MAX_LINES = 200
"""Steps that are printed of one pass; programs get all."""
_LACKING = {
    "silent": "no sign of life",
    "unknown": "did not tell what they run",
    "cordoned": "cordoned",
    "draining": "draining",
}


def host_label(id: str, names: Mapping[str, str]) -> str:
    """What a host is called; with its id where others are called so, too."""
    name = names.get(id, "")
    if not name:
        return short(id)
    return clean(name) if list(names.values()).count(name) == 1 else f"{clean(name)} ({short(id)})"


def step_text(step: Step, names: Mapping[str, str]) -> str:
    """One command on one line, with the name of its host."""
    text, host = describe(step.command), command_host(step.command)
    if host is not None:
        text = text.replace(f" on {short(host)}", f" on {host_label(host, names)}")
    command = step.command
    if isinstance(command, StartProvider) or (isinstance(command, ScaleComponent) and command.count):
        text = f"{text}, image {command.image}"
    return clean(text)


def verdict_summary(verdicts: Sequence[HostVerdict]) -> str:
    """`0 of 5 hosts: 3 lack zone=eu, 1 cordoned`."""
    if not verdicts:
        return "0 hosts: none answers"
    rejected = Counter(_lack(verdict) for verdict in verdicts if not verdict.accepted)
    fitting = len(verdicts) - rejected.total()
    hosts = "1 host" if len(verdicts) == 1 else f"{len(verdicts)} hosts"
    reasons = ", ".join(f"{count} {_verb(what, count)}" for what, count in rejected.most_common())
    return f"{fitting} of {hosts}" + (f": {reasons}" if reasons else "")


def _lack(verdict: HostVerdict) -> str:
    if verdict.rule:
        return f"lack {verdict.rule}"
    return _LACKING.get(verdict.code) or verdict.reason or verdict.code


def _verb(what: str, count: int) -> str:
    return what.replace("lack ", "lacks ", 1) if count == 1 and what.startswith("lack ") else what


def plan_lines(found: Preview, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The commands as data, in order, each with its pass (from 1), stage, host and reason."""
    return [
        {"pass": number, **_step_data(step, names)} for number, steps in enumerate(found.passes, 1) for step in steps
    ]


def plan_data(found: Preview, names: Mapping[str, str]) -> dict[str, Any]:
    """What `-o json` prints."""
    return {
        "changes": found.changes,
        "possible": found.possible,
        "applications": [_transition_data(transition) for transition in found.transitions],
        "commands": plan_lines(found, names),
        "settles": found.settled,
        "pending": [_step_data(step, names) for step in found.pending],
        "problems": [_problem_data(problem) for problem in found.problems],
        "effects": [{"app": e.app, "kind": e.kind, "message": e.message} for e in found.effects],
        "placements": [_placement_data(placement, names) for placement in found.placements],
    }


def _transition_data(transition: Transition) -> dict[str, Any]:
    return {"name": transition.name, "deployed_version": transition.before, "planned_version": transition.after}


def _problem_data(problem: Problem) -> dict[str, Any]:
    return {
        "app": problem.app,
        "code": problem.code,
        "subject": problem.subject or None,
        "message": problem.message,
        "remedy": problem.remedy,
        "other": problem.other,
    }


def _step_data(step: Step, names: Mapping[str, str]) -> dict[str, Any]:
    host = command_host(step.command)
    return {
        "stage": str(step.stage),
        "command": type(step.command).__name__,
        **_arguments(step.command),
        "host_name": (names.get(host) or None) if host is not None else None,
        "reason": step.reason,
        "app": step.app,
    }


def _arguments(command: Command) -> dict[str, Any]:
    """What a command says, under the names that its control operation has for it."""
    if isinstance(command, PutLink):
        return command.link.model_dump(mode="json")
    given = {field.name: getattr(command, field.name) for field in fields(command)}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in given.items()}


def _placement_data(placement: Placement, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "app": placement.app,
        "id": placement.workload,
        "spread": placement.spread,
        "wanted": placement.wanted,
        "placed": [
            {"host": host, "host_name": names.get(host) or None, "count": count}
            for host, count in sorted(placement.placed.items())
        ],
        "summary": verdict_summary(placement.verdicts),
        "rejected": [
            {"host": v.host, "host_name": names.get(v.host) or None, "code": v.code, "reason": v.reason, "rule": v.rule}
            for v in placement.verdicts
            if not v.accepted
        ],
    }


def plan_text(found: Preview, names: Mapping[str, str], style: Style = PLAIN) -> str:
    """The plan as people read it; ends with one line that sums it up."""
    parts = ["".join(f"{_transition_text(transition, style)}\n" for transition in found.transitions)]
    for number, steps in enumerate(found.passes, 1):
        title = "Commands, in this order:" if number == 1 else "Once these have taken effect:"
        parts.append(f"{style.bold(title)}\n{_steps_text(steps, names, style)}")
    if not found.settled:
        parts.append("It goes on from there; the rest depends on what happens.\n")
    if found.placements:
        parts.append(f"{style.bold('Where it will run:')}\n{_placements_text(found.placements, names, style)}")
    if found.problems:
        parts.append(f"{style.red('Problems:')}\n" + "".join(_problem_text(problem) for problem in found.problems))
    if found.effects:
        lines = [
            f"  {clean(effect.app)}: {_effect_text(effect.kind, effect.message, style)}" for effect in found.effects
        ]
        parts.append(f"{style.bold('Other applications:')}\n" + "".join(f"{line}\n" for line in lines))
    if found.pending:
        title = "The scheduler is at this already, whatever you do:"
        parts.append(f"{style.bold(title)}\n{_steps_text(found.pending, names, style)}")
    parts.append(f"{style.bold('Plan:')} {_sum(found)}\n")
    return "\n".join(parts)


def _transition_text(transition: Transition, style: Style) -> str:
    before, after = (clean(version) if version else None for version in (transition.before, transition.after))
    if before == after:
        what = f"stays at version {after}" if after else "stays undeployed"
    elif before is None:
        what = f"deploy version {after}"
    else:
        what = f"undeploy version {before}" if after is None else f"version {before} → {after}"
    return f"{style.bold(clean(transition.name))}: {what}"


def _steps_text(steps: Sequence[Step], names: Mapping[str, str], style: Style) -> str:
    rows = [[f"  {step.stage}", step_text(step, names), step.reason] for step in steps[:_MAX_LINES]]
    hidden = len(steps) - len(rows)
    text = align(rows, paint=lambda row, column, cell: style.dim(cell) if column == 2 else cell)
    return text + (f"  … and {hidden} more: -o json has all\n" if hidden else "")


def _placements_text(placements: Iterable[Placement], names: Mapping[str, str], style: Style) -> str:
    rows = [["  ID", "SPREAD", "WANTED", "HOSTS"]]
    for placement in placements:
        spots = [f"{host_label(host, names)}: {count}" for host, count in sorted(placement.placed.items())]
        shown = ", ".join(spots[:8]) + (f" … and {len(spots) - 8} more" if len(spots) > 8 else "")
        where = shown or f"nowhere ({verdict_summary(placement.verdicts)})"
        rows.append([f"  {placement.workload}", placement.spread, str(placement.wanted), where])
    return align(rows, right=frozenset({2}), paint=lambda row, column, cell: style.bold(cell) if row == 0 else cell)


def _problem_text(problem: Problem) -> str:
    about = problem.subject if problem.subject and problem.subject not in problem.message else ""
    lead = f"{problem.app}, {about}" if about else problem.app
    text = f"  {clean(lead)}: {clean(problem.message)}\n"
    return text + (f"    {clean(problem.remedy)}\n" if problem.remedy else "")


def _effect_text(kind: str, message: str, style: Style) -> str:
    text = clean(message)
    if kind == "worse":
        return style.red(text)
    return style.green(f"no longer: {text}") if kind == "better" else text


def _sum(found: Preview) -> str:
    if not found.changes:
        return "nothing can be done." if found.problems else "no change."
    count = len(found.steps)
    hosts = len({host for step in found.steps if (host := command_host(step.command)) is not None})
    commands = "no command" if not count else "1 command" if count == 1 else f"{count} commands"
    where = f" on {hosts} host{'s' if hosts > 1 else ''}" if hosts else ""
    problems = len(found.problems)
    but = f"; {problems} problem{'s' if problems > 1 else ''}" if problems else ""
    return f"{commands}{where}{but}. Nothing was changed."
