"""What deploying or undeploying would do, told apart from what the scheduler is doing anyway. Pure.

The law of this file: the same checks and the same planner as in the scheduler, on a copy of the world; nothing here
decides anything by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from trellis_lattice.errors import TrellisError
from trellis_wadm.catalog import StoredApplication, check_deploy, check_undeploy
from trellis_wadm.foresight import Foresight, foresee
from trellis_wadm.manifest.model import Manifest
from trellis_wadm.planner.commands import Command
from trellis_wadm.planner.result import ApplicationStatus, Condition, Placement, Stage, Step
from trellis_wadm.planner.world import Observed
from trellis_wadm.wishes import Wishes

__all__ = ["NEW_VERSION", "Effect", "Intent", "Preview", "Problem", "Transition", "preview"]

NEW_VERSION = "(new)"
"""The version of a manifest that gets one only when it is stored."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What somebody would do: deploy `manifest`, or with None undeploy the application `name`.

    With `replace` the manifest takes the place of a stored version of the same name.
    """

    name: str
    manifest: Manifest | None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """Which version of an application is deployed before and after; None: none is."""

    name: str
    before: str | None
    after: str | None

    @property
    def changes(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something that was asked for will not be: `subject` is the part of `app` it is about."""

    app: str
    code: str
    message: str
    subject: str = ""
    remedy: str | None = None
    other: str | None = None
    """The application that stands against it, where one does."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What becomes of an application that was not mentioned: `kind` is `worse`, `better` or `touched`."""

    app: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Preview:
    """`passes` are the steps that the intents cause, one tuple for each pass of the scheduler; `pending` are those it
    takes anyway. `settled` is False if it goes on for longer than was looked ahead.
    """

    transitions: tuple[Transition, ...] = ()
    passes: tuple[tuple[Step, ...], ...] = ()
    pending: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    effects: tuple[Effect, ...] = ()
    placements: tuple[Placement, ...] = ()
    """Where the components of the applications that were mentioned will run."""
    settled: bool = True

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for steps in self.passes for step in steps)

    @property
    def changes(self) -> bool:
        return bool(self.passes) or any(transition.changes for transition in self.transitions)

    @property
    def possible(self) -> bool:
        return not self.problems


@dataclass(slots=True)
class _Draft:
    applications: dict[str, StoredApplication]
    transitions: list[Transition] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def preview(
    intents: Sequence[Intent], applications: Mapping[str, StoredApplication], observed: Observed, now: float
) -> Preview:
    """What these intents, fulfilled in this order, do to a lattice in which `applications` are stored."""
    draft = _Draft(dict(applications))
    for intent in intents:
        _carry_out(intent, draft)
    before = foresee(Wishes().of(applications), observed, now)
    after = foresee(Wishes().of(draft.applications), observed, now)
    names = {intent.name for intent in intents}
    passes, pending = _caused(before, after)
    return Preview(
        tuple(draft.transitions),
        passes,
        pending,
        (*draft.problems, *_problems(names, after.last.applications)),
        tuple(_effects(names, before, after, passes)),
        tuple(placement for placement in after.last.placements if placement.app in names),
        after.settles,
    )


def _carry_out(intent: Intent, draft: _Draft) -> None:
    """Fulfils an intent in the draft, or notes why the scheduler would refuse it."""
    stored = draft.applications.get(intent.name, StoredApplication(intent.name))
    deployed = stored.deployed_version
    try:
        if intent.manifest is None:
            check_undeploy(intent.name, draft.applications)
            changed = stored.with_deployed(None)
        else:
            manifest = intent.manifest if intent.manifest.version else intent.manifest.with_version(NEW_VERSION)
            changed = _stored(stored, manifest, replacing=intent.replace).with_deployed(manifest.version)
            check_deploy(manifest, draft.applications | {intent.name: changed})
    except TrellisError as error:
        users = error.fields.get("used_by") or [error.fields.get("app")]
        other = next((str(user) for user in users if user), None)
        problem = Problem(intent.name, "refused", error.message, remedy=error.remedy, other=other)
        draft.problems.append(problem)
        draft.transitions.append(Transition(intent.name, deployed, deployed))
        return
    draft.applications[intent.name] = changed
    draft.transitions.append(Transition(intent.name, deployed, changed.deployed_version))


def _stored(stored: StoredApplication, manifest: Manifest, *, replacing: bool) -> StoredApplication:
    if stored.manifests.get(manifest.version or "") == manifest.to_wire():
        return stored
    return stored.with_version(manifest, replacing=replacing)


def _caused(before: Foresight, after: Foresight) -> tuple[tuple[tuple[Step, ...], ...], tuple[Step, ...]]:
    """The steps of `after` that are not among those of `before`, pass by pass; and those that are."""
    anyway: dict[str, list[Command]] = {}
    for step in (step for found in before.passes for step in found.steps):
        anyway.setdefault(step.key, []).append(step.command)
    passes: list[tuple[Step, ...]] = []
    pending: list[Step] = []
    for found in after.passes:
        mine: list[Step] = []
        for step in found.steps:
            same = anyway.get(step.key, [])
            if step.command in same:
                same.remove(step.command)
                pending.append(step)
            else:
                mine.append(step)
        if mine:
            passes.append(tuple(mine))
    return tuple(passes), tuple(pending)


def _problems(names: Iterable[str], statuses: Mapping[str, ApplicationStatus]) -> list[Problem]:
    """What will stand against the applications that were mentioned once all has been done that can be."""
    found: list[Problem] = []
    for name in sorted(names):
        status = statuses.get(name)
        for scaler in status.scalers if status else ():
            found += [Problem(name, c.reason, c.message, scaler.name) for c in scaler.conditions if _is_final(c)]
    return found


def _is_final(condition: Condition) -> bool:
    return condition.fatal and not condition.reason.startswith("rejected-")


def _effects(
    names: set[str], before: Foresight, after: Foresight, passes: Sequence[Sequence[Step]]
) -> Iterable[Effect]:
    """What the intents do to applications that they do not mention."""
    for name in sorted((before.last.applications.keys() | after.last.applications.keys()) - names):
        was, is_ = _standing(before, name), _standing(after, name)
        yield from (Effect(name, "worse", message) for key, message in is_.items() if key not in was)
        yield from (Effect(name, "better", message) for key, message in was.items() if key not in is_)
        commands = sum(step.app == name and step.stage is not Stage.PREPARE for steps in passes for step in steps)
        if commands:
            yield Effect(name, "touched", f"{commands} command{'s' if commands > 1 else ''} of the plan")


def _standing(foresight: Foresight, name: str) -> dict[tuple[str, str, str], str]:
    status = foresight.last.applications.get(name)
    return {
        (scaler.id, condition.reason, condition.host or ""): condition.message
        for scaler in (status.scalers if status else ())
        for condition in scaler.conditions
        if _is_final(condition)
    }
