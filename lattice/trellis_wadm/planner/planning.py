"""`plan(desired, observed, now)`: everything the reconciler decides, in one pure function.

The laws of this file: a plan depends on its arguments alone; what holds already yields no command; wishes that
exclude each other are settled before anything is done; a command that failed is held back by its backoff, and
whatever needs it is held back with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from trellis_lattice.links import Link
from trellis_wadm import backoff, naming
from trellis_wadm.planner import config, daemonscaler, link, spreadscaler
from trellis_wadm.planner.commands import (
    Command,
    PutLink,
    ScaleComponent,
    command_host,
    command_key,
    describe,
)
from trellis_wadm.planner.conflicts import find_conflicts
from trellis_wadm.planner.desired import Application, ConfigScaler, Desired, Scaler, WorkloadScaler
from trellis_wadm.planner.ports import Ports, in_turn
from trellis_wadm.planner.prepare import prepare
from trellis_wadm.planner.rebalance import Placed, rebalance
from trellis_wadm.planner.removal import remove_configs, remove_links, remove_workloads
from trellis_wadm.planner.result import (
    ApplicationStatus,
    Condition,
    Placement,
    Plan,
    ScalerStatus,
    Stage,
    StatusType,
    Step,
)
from trellis_wadm.planner.sides import sides_of
from trellis_wadm.planner.status import application_status, scaler_status
from trellis_wadm.planner.told import as_asked
from trellis_wadm.planner.view import ConfigState, Outcome, View, slot_of
from trellis_wadm.planner.workload import converge
from trellis_wadm.planner.world import Observed, Owned, SinceKey, SlotKey

__all__ = ["DEFAULT_POLICY", "plan"]

DEFAULT_POLICY = backoff.Policy()


def plan(desired: Desired, observed: Observed, now: float, policy: backoff.Policy = DEFAULT_POLICY) -> Plan:
    """What to do so that `observed` becomes `desired`, and what stands against it.

    `now` and all times are seconds of one clock of the caller's choice.
    """
    return _Pass(desired, as_asked(desired, observed), now, policy).run()


class _Pass:
    """One pass: gathers what the scalers decide."""

    def __init__(self, desired: Desired, observed: Observed, now: float, policy: backoff.Policy) -> None:
        self._desired = desired
        self._observed = observed
        self._now = now
        self._policy = policy
        self._steps: list[Step] = []
        self._wanted: dict[str, Command] = {}
        self._held: set[str] = set()
        self._placements: list[Placement] = []
        self._since: dict[SinceKey, float] = {}
        self._wake: list[float] = []
        self._busy: dict[str, list[str]] = {}
        self._conditions: dict[str, list[Condition]] = {}
        self._view = View(observed, now, policy)

    def run(self) -> Plan:
        view = self._view
        conflicts = find_conflicts(self._desired, self._settled(), self._observed.configs)
        for scaler in self._desired.all_configs():
            self._decide_config(scaler)
        ports = Ports(self._desired, view)
        removals = remove_links(self._desired, view, ports) + remove_workloads(self._desired, view, ports)
        self._take("", removals)
        cleared = self._cleared(removals)
        for link_scaler in self._desired.all_links():
            if (conflict := conflicts.get(link_scaler.id)) is not None:
                self._note(link_scaler.id, [Condition(conflict.code, conflict.message, fatal=True)])
            else:
                self._take_outcome(link_scaler, link.decide(link_scaler, view, *cleared))
        view.sides = sides_of(self._desired, view)
        placed: list[Placed] = []
        for workload in self._desired.all_workloads():
            if (conflict := conflicts.get(workload.id)) is not None:
                self._note(workload.id, [Condition(conflict.code, conflict.message, fatal=True)])
            else:
                placed.append((workload, self._place(workload)))
        placed = rebalance(placed, view)
        decided = [(workload, converge(workload, placements, view)) for workload, placements in placed]
        for workload, outcome in in_turn(decided, removals, ports, view):
            self._take_outcome(workload, outcome)
        self._prepare(placed)
        self._take("", remove_configs(self._desired, view))
        return self._finish()

    def _settled(self) -> set[str]:
        """Scalers whose wish is fulfilled at least in part: they keep what they have."""
        stored = self._view.links
        settled = {
            scaler.id
            for scaler in self._desired.all_links()
            if (found := stored.get(scaler.link.key)) is not None and link.same_link(found, scaler.link)
        }
        for host in self._observed.live_hosts:
            running = [component.annotations for component in host.components.values()]
            running += [provider.annotations for provider in host.providers.values()]
            settled.update(annotations.get(naming.SCALER_ANNOTATION, "") for annotations in running)
        return settled

    def _cleared(
        self, removals: Iterable[Step]
    ) -> tuple[frozenset[tuple[str, str, str, str, str]], frozenset[SlotKey]]:
        """Links that are deleted in this pass, and slots of which v1's delete may take a wrong one."""
        going = {step.key for step in removals if step.key not in self._held}
        gone = [stored for stored in self._observed.links if _delete_key(stored) in going] if going else []
        wanted = {scaler.link.key for scaler in self._desired.all_links()}
        deleted = frozenset(stored.key for stored in gone if stored.key not in wanted)
        return deleted, frozenset(slot_of(stored) for stored in gone if stored.key in deleted)

    def _decide_config(self, scaler: ConfigScaler) -> None:
        configs = self._view.configs
        outcome = config.decide(scaler, self._view)
        self._take_outcome(scaler, outcome)
        if scaler.properties is None and scaler.name in configs:
            return
        key = next((step.key for step in outcome.steps), None)
        if outcome.conditions:
            configs[scaler.name] = ConfigState(False, None, outcome.conditions[0].message)
        elif key is None:
            configs[scaler.name] = ConfigState(True)
        elif key in self._held:
            configs[scaler.name] = ConfigState(False, None, f"The configuration {scaler.name} is not stored yet")
        else:
            configs[scaler.name] = ConfigState(True, key)

    def _prepare(self, placed: Iterable[Placed]) -> None:
        """Work ahead says nothing about an application: whether it can be done matters to nobody yet."""
        for scaler, placements in placed:
            for step in prepare(scaler, placements, self._view):
                if step.key in self._wanted:
                    continue
                self._wanted[step.key] = step.command
                verdict = self._view.verdict(step.command)
                if isinstance(verdict, backoff.Ready):
                    self._steps.append(step)
                elif isinstance(verdict, backoff.Waiting):
                    self._wake.append(verdict.until)

    def _place(self, scaler: WorkloadScaler) -> tuple[Placement, ...]:
        """Where it should run; what is new somewhere counts there for all that follows."""
        view = self._view
        placements = daemonscaler.place(scaler, view) if scaler.daemon else spreadscaler.place(scaler, view)
        running = (view.providers if scaler.provider else view.components)(scaler.workload)
        for host in {host for placement in placements for host in placement.placed}:
            if host not in running:
                view.load[host] += 1
        return placements

    def _take_outcome(self, scaler: Scaler, outcome: Outcome) -> None:
        self._note(scaler.id, outcome.conditions)
        self._placements.extend(outcome.placements)
        self._take(scaler.id, outcome.steps)
        for command in outcome.remembered:
            self._wanted.setdefault(command_key(command), command)

    def _note(self, scaler: str, conditions: Iterable[Condition]) -> None:
        """Remembers conditions with the time since which each has held."""
        for condition in conditions:
            key = (scaler, condition.reason, condition.host or "")
            since = self._observed.since.get(key, condition.since or self._now)
            self._since[key] = since
            self._conditions.setdefault(scaler, []).append(replace(condition, since=since))

    def _take(self, scaler: str, steps: Sequence[Step]) -> None:
        """Adds steps to the plan, or holds them back and says why."""
        for step in steps:
            key = step.key
            self._wanted[key] = step.command
            policy = backoff.policy_for(step.command, self._policy)
            verdict = backoff.judge(self._observed.attempts.get(key), step.command, self._now, policy)
            if isinstance(verdict, backoff.Ready) and not step.needs & self._held:
                self._steps.append(step)
                self._busy.setdefault(scaler, []).append(f"{_capitalized(describe(step.command))} ({step.reason})")
                continue
            self._held.add(key)
            host = command_host(step.command)
            what = describe(step.command)
            if isinstance(verdict, backoff.Waiting):
                self._wake.append(verdict.until)
                tail = f": {verdict.error}" if verdict.error else _while_waiting(step.command)
                reason = "in-progress" if verdict.error is None else "backing-off"
                # What goes on needs no other attempt before it has failed.
                until = verdict.until if reason == "backing-off" else None
                message = f"{_capitalized(what)}: {verdict.reason}{tail}"
                self._note(scaler, [Condition(reason, message, host, verdict.since, until=until)])
            elif isinstance(verdict, backoff.Failed):
                message = f"Failed to {what}: {verdict.reason}"
                self._note(scaler, [Condition("failed", message, host, verdict.since, fatal=True)])

    def _finish(self) -> Plan:
        order = {stage: i for i, stage in enumerate(Stage)}
        steps = tuple(sorted(self._steps, key=lambda step: order[step.stage]))
        hosts = len(self._observed.live_hosts)
        applications = {name: self._application(app, hosts) for name, app in sorted(self._desired.applications.items())}
        return Plan(
            steps=steps,
            wanted=self._wanted,
            applications=applications,
            placements=tuple(self._placements),
            owned=self._owned(),
            since=self._since,
            wake_at=min(self._wake, default=None),
        )

    def _application(self, app: Application, hosts: int) -> ApplicationStatus:
        scalers = [
            scaler_status(scaler, self._conditions.get(scaler.id, ()), self._busy.get(scaler.id, ()), hosts)
            for scaler in app.scalers
        ]
        for i, problem in enumerate(app.problems):
            self._note(f"{app.name}/{i}", [Condition("manifest", problem, fatal=True)])
            conditions = tuple(self._conditions[f"{app.name}/{i}"])
            scalers.append(
                ScalerStatus(f"{app.name}/{i}", "ManifestProblem", app.name, StatusType.FAILED, problem, conditions)
            )
        return application_status(app, scalers)

    def _owned(self) -> Owned:
        """What is asked for now, and what was before as long as it still exists."""
        links = {scaler.link.key for scaler in self._desired.all_links()}
        links |= self._view.links.keys() & self._observed.owned.links
        configs = {scaler.name for scaler in self._desired.all_configs() if scaler.properties is not None}
        configs |= self._observed.configs.keys() & self._observed.owned.configs
        return Owned(frozenset(links), frozenset(configs))


def _delete_key(stored: Link) -> str:
    return command_key(PutLink(stored))


def _while_waiting(command: Command) -> str:
    starts = isinstance(command, ScaleComponent) and command.count > 0
    return "; a component is compiled before its first start" if starts else ""


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
