"""Looking ahead and asking why: what `trellis app plan`, `diff` and `why` need from a lattice. Nothing is changed.

The law of this file: whoever asks needs no scheduler; what one says is used where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trellis_cli.manifests import Source, names_in, sound_manifests
from trellis_cli.output.diff import Side
from trellis_cli.output.unmet import Unmet, unmet_of
from trellis_cli.output.why import Asked, Explanation, SpreadFacts
from trellis_cli.rollout import same_application
from trellis_lattice.errors import NotFound, RequestInvalid, Unavailable
from trellis_wadm.api import WadmClient
from trellis_wadm.api.messages import StatusReport
from trellis_wadm.board import StatusBoard
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.history import chosen_version
from trellis_wadm.manifest import Manifest
from trellis_wadm.observe import Sight, observe, stored_applications
from trellis_wadm.planner import Desired, Observed, Plan, plan
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.preview import Intent, Preview, preview
from trellis_wadm.wishes import Wishes

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice

__all__ = [
    "explain",
    "intents_from",
    "look",
    "look_at_stored",
    "manifest_sides",
    "missing_scheduler",
    "plan_intents",
    "stored_intent",
    "stored_sides",
]

_LISTEN = 1.2
"""Seconds in which every host says how loaded it is, which decides between hosts that fit equally."""


async def look(lattice: Lattice, timeout: float, *, loads: bool = False) -> Sight:
    """Looks at the lattice; `loads` takes about a second longer, and makes a plan choose the same hosts."""
    deadline = asyncio.get_running_loop().time() + timeout
    return await observe(lattice.client, deadline=deadline, listen=min(_LISTEN, timeout / 2) if loads else 0.0)


async def look_at_stored(lattice: Lattice, timeout: float) -> dict[str, StoredApplication]:
    """The applications that are stored."""
    deadline = asyncio.get_running_loop().time() + timeout
    return await stored_applications(lattice.client, deadline=deadline)


async def missing_scheduler(lattice: Lattice, name: str) -> Unavailable | None:
    """The error of a lattice in which nobody would carry out a plan; None if somebody would."""
    deadline = asyncio.get_running_loop().time() + lattice.timeout
    try:
        await WadmClient(lattice.client.connection, lattice.name).status(name, deadline=deadline)
    except Unavailable as error:
        return error
    return None


def plan_intents(sight: Sight, intents: Sequence[Intent]) -> Preview:
    """What these would do, done in this order."""
    return preview(intents, sight.applications, sight.observed, 0.0)


def intents_from(source: Source, sight: Sight, *, undeploy: bool = False, replace: bool = False) -> list[Intent]:
    """What deploying a source means: each of its applications, in the version that it has or would get.

    Raises `RequestInvalid` with every finding.
    """
    if undeploy:
        return [stored_intent(name, None, sight, undeploy=True) for name in names_in(source)]
    intents = []
    for parsed, wire in sound_manifests(source):
        manifest = Manifest.model_validate(wire)
        stored = sight.applications.get(manifest.name)
        version = manifest.version or (stored.latest if stored else None)
        known = stored.manifests.get(version) if stored and version else None
        # The same content is not stored twice: a new version is only made for a new content.
        same = stored.manifest(version) if stored and known and same_application(_canonical(known), wire) else None
        assert parsed.manifest is not None
        intents.append(Intent(manifest.name, same or manifest, replace))
    return intents


def stored_intent(name: str, version: str | None, sight: Sight, *, undeploy: bool = False) -> Intent:
    """Deploying a stored version (None: the newest), or undeploying. Raises `NotFound`."""
    app = _application(name, sight.applications)
    if undeploy:
        return Intent(name, None)
    manifest = app.manifest(app.resolve(version))
    if manifest is None:
        raise RequestInvalid(f"The stored manifest of `{name}` cannot be read.", remedy="Put it again.", name=name)
    return Intent(name, manifest)


def _application(name: str, stored: Mapping[str, StoredApplication]) -> StoredApplication:
    app = stored.get(name)
    if app is None:
        raise NotFound(f"There is no application `{name}`.", remedy="List: trellis app list")
    return app


def _canonical(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The form in which this program writes manifests, so that only content counts."""
    return Manifest.model_validate(manifest).to_wire()


# Differences


def manifest_sides(
    source: Source, stored: Mapping[str, StoredApplication], against: str | None
) -> list[tuple[str, Side, Side]]:
    """For each application of a source: its name, `against` (default: what is deployed), and what the source says."""
    found = []
    for parsed, wire in sound_manifests(source):
        assert parsed.manifest is not None
        name = parsed.manifest.name
        before = _before(_application(name, stored) if against else stored.get(name), against)
        if parsed.manifest.version is None and before.manifest is not None:
            before = Side(before.label, _unversioned(before.manifest))
        found.append((name, before, Side(source.name, wire)))
    return found


def stored_sides(
    name: str, stored: Mapping[str, StoredApplication], version: str | None, against: str | None
) -> tuple[str, Side, Side]:
    """Two stored versions: `against` (default: the deployed one) and `version` (default: the newest).

    Raises `NotFound`.
    """
    app = _application(name, stored)
    return name, _before(app, against), _side(app, _version_of(app, version))


def _version_of(app: StoredApplication, text: str | None) -> str:
    """A version by its name or its number in the history; None: the newest."""
    return app.resolve(None) if text is None else chosen_version(text, app.manifests, None, ())


def _before(app: StoredApplication | None, against: str | None) -> Side:
    version = _version_of(app, against) if app and against is not None else app.deployed_version if app else None
    return _side(app, version) if app and version else Side("(not deployed)", None)


def _side(app: StoredApplication, version: str) -> Side:
    deployed = " (deployed)" if version == app.deployed_version else ""
    return Side(f"{version}{deployed}", _canonical(app.manifests[version]))


def _unversioned(manifest: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(manifest["metadata"])
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key != "version"}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


# Reasons


@dataclass(frozen=True, slots=True)
class _Question:
    name: str
    version: str
    deployed: bool
    desired: Desired
    plan: Plan


async def explain(lattice: Lattice, sight: Sight, name: str, component: str | None, now: float | None) -> Explanation:
    """Why an application is as it is; of one that is not deployed, what deploying its newest version would find.

    `component`: only this one, by its name in the manifest or its id. `now` in seconds since 1970, for ages.
    Raises `NotFound`.
    """
    app = _application(name, sight.applications)
    applications = dict(sight.applications)
    if app.deployed_version is None:
        applications[name] = app.with_deployed(app.latest)
    desired = Wishes().of(applications)
    if name not in desired.applications:
        raise RequestInvalid(f"The stored manifest of `{name}` cannot be read.", remedy="Put it again.", name=name)
    question = _Question(
        name,
        applications[name].deployed_version or "",
        app.deployed_version is not None,
        desired,
        plan(desired, sight.observed, 0.0),
    )
    report = await _report(lattice, question)
    return _explanation(question, sight, report, component, now)


async def _report(lattice: Lattice, question: _Question) -> StatusReport:
    """What the scheduler said last about this version; else what planning finds here and now."""
    if question.deployed:
        deadline = asyncio.get_running_loop().time() + lattice.timeout
        board = StatusBoard(lattice.client.connection, lattice.name)
        report = await board.read(question.name, deadline=deadline)
        if report is not None and report.version in ("", question.version):
            return report
    status = question.plan.applications[question.name]
    report = StatusReport.of(status, 0.0)
    # Nobody has been waiting yet, so there is nothing to count from.
    scalers = tuple(
        scaler.model_copy(update={"conditions": tuple(c.model_copy(update={"since": None}) for c in scaler.conditions)})
        for scaler in report.scalers
    )
    return report.model_copy(update={"scalers": scalers})


def _explanation(
    question: _Question, sight: Sight, report: StatusReport, component: str | None, now: float | None
) -> Explanation:
    workloads = question.desired.applications[question.name].workloads
    chosen = [scaler for scaler in workloads if component in (None, scaler.component, scaler.workload)]
    if component is not None and not chosen:
        listed = ", ".join(scaler.component for scaler in workloads) or "none that is placed"
        raise NotFound(f"`{question.name}` has no component `{component}`.", remedy=f"It has: {listed}.")
    # Which host was rejected for what stands beside each host.
    told = [one for one in unmet_of(report, sight.host_names, now) if not one.reason.startswith("rejected-")]
    unmet = [one for one in told if component is None or _is_about(one, chosen)]
    return Explanation(
        name=question.name,
        version=question.version,
        state=str(report.type),
        hypothetical=not question.deployed,
        components=[(_asked(scaler), _facts(scaler, question.plan, sight.observed)) for scaler in chosen],
        unmet=unmet,
    )


def _is_about(one: Unmet, scalers: Sequence[WorkloadScaler]) -> bool:
    return any(scaler.workload in (one.part, *one.part.split()) for scaler in scalers)


def _asked(scaler: WorkloadScaler) -> Asked:
    trait = "daemonscaler" if scaler.daemon else "spreadscaler"
    return Asked(scaler.workload, scaler.component, scaler.provider, trait, scaler.instances, scaler.image)


def _facts(scaler: WorkloadScaler, found: Plan, observed: Observed) -> list[SpreadFacts]:
    spreads = {spread.name: spread for spread in scaler.spreads}
    running = {
        id: host.components[scaler.workload].max_instances if not scaler.provider else 1
        for id, host in observed.hosts.items()
        if scaler.workload in (host.providers if scaler.provider else host.components)
    }
    placements = [placement for placement in found.placements if placement.scaler == scaler.id]
    return [SpreadFacts(p, spreads[p.spread].requirements, running) for p in placements]
