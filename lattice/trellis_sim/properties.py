"""What must hold, in every run: judged by what the hosts really run, not by what anybody believes.

The laws of this file: it looks and changes nothing; what the planner computes is computed here in another way,
except the shares of a spread, which are v1's arithmetic; a bound of time counts from the last fault that began or
ended, since every fault costs its own time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trellis_sim.process import Process
from trellis_sim.universe import Universe
from trellis_wadm import naming
from trellis_wadm.inventory import CORDON_LABEL, DRAIN_LABEL
from trellis_wadm.planner import Desired, find_conflicts
from trellis_wadm.planner.commands import Command, describe
from trellis_wadm.planner.desired import WorkloadScaler
from trellis_wadm.planner.spread import compute_spread

__all__ = ["Bounds", "Properties", "Violated"]


class Violated(Exception):
    """A property does not hold. `name` is short and stable."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds. `failover`: how long a workload may be gone; `tidy`: how long there may be too much of it, or a status
    may be wrong."""

    failover: float = 3.5
    tidy: float = 6.0


class Properties:
    """Looks at one run; raises `Violated`."""

    def __init__(self, universe: Universe, bounds: Bounds) -> None:
        self._universe = universe
        self._bounds = bounds
        self._desired = Desired()
        self._exempt: frozenset[str] = frozenset()
        self._calm_since = 0.0
        self._since: dict[tuple[str, str], float] = {}
        """When something that must not last began, by kind and workload or application."""
        self._gone_since: dict[str, float] = {}
        self.quiet = False
        """Whether no command may be sent any more."""
        self.suspended = 0
        """Orders of an operator that are under way: what is right then is not for us to say."""
        self.worst_failover = 0.0
        self.failovers = 0

    def desire(self, desired: Desired) -> None:
        """Something else is asked for from now on."""
        self._desired = desired
        self._exempt = frozenset(find_conflicts(desired))
        self._gone_since.clear()
        self.disturbed()

    def disturbed(self) -> None:
        """A fault began or ended."""
        self._calm_since = self._universe.clock.now
        self.changed()

    # who is there -------------------------------------------------------------------------------------

    def reachable(self) -> list[Process]:
        """Hosts that live, with a connection to where the store is."""
        if not self._universe.bus.up:
            return []
        return [p for p in self._universe.processes.values() if p.alive and p.attached and p.side == 0 and not p.frozen]

    def _eligible(self, scaler: WorkloadScaler, hosts: list[Process]) -> list[list[str]]:
        """For each spread the hosts that fit."""
        return [
            [p.id for p in hosts if _takes_work(p) and _fits(p.workloads.state.labels, spread.requirements)]
            for spread in scaler.spreads
        ]

    def _running(self, scaler: WorkloadScaler, hosts: list[Process]) -> dict[str, int]:
        """Instances, or 1 for a provider, by host; of the right image only."""
        found: dict[str, int] = {}
        for p in hosts:
            state = p.workloads.state
            if scaler.provider:
                if any(each.id == scaler.workload and each.image == scaler.image for each in state.providers):
                    found[p.id] = 1
            else:
                for each in state.components:
                    if each.id == scaler.workload and each.image == scaler.image:
                        found[p.id] = each.max_instances
        return found

    def _there(self, scaler: WorkloadScaler, hosts: list[Process]) -> int:
        """Instances of it, whatever their image."""
        count = 0
        for p in hosts:
            state = p.workloads.state
            if scaler.provider:
                count += sum(each.id == scaler.workload for each in state.providers)
            else:
                count += sum(each.max_instances for each in state.components if each.id == scaler.workload)
        return count

    # during the run -----------------------------------------------------------------------------------

    def command(self, process: Process, command: Command) -> None:
        """A command goes out."""
        for other in self._universe.processes.values():
            if other is not process and other.alive and not other.frozen and other.scheduler.term() is not None:
                raise Violated("fencing", f"{process.id} sends a command while {other.id} holds the lease")
        if self.quiet:
            raise Violated("quiet", f"{process.id} still sends a command: {describe(command)}")

    def changed(self) -> None:
        """What a host runs changed, or who is there: how long was anything gone?"""
        hosts, now = self.reachable(), self._universe.clock.now
        for scaler in self._desired.all_workloads():
            wanted = any(self._eligible(scaler, hosts)) and scaler.instances > 0
            if wanted and not self._there(scaler, hosts):
                self._gone_since.setdefault(scaler.id, now)
            else:
                since = self._gone_since.pop(scaler.id, None)
                if since is not None and wanted:
                    self.failovers += 1
                    self.worst_failover = max(self.worst_failover, now - since)

    def sample(self) -> None:
        """Looks for what must not last."""
        hosts = self.reachable()
        for scaler in self._desired.all_workloads():
            if scaler.id in self._exempt:
                continue
            eligible, there = self._eligible(scaler, hosts), self._there(scaler, hosts)
            gone = not there and scaler.instances > 0 and any(eligible)
            self._lasting("gone", scaler.workload, gone, self._bounds.failover, "it runs nowhere, but a host fits")
            most = _most(scaler, eligible)
            if scaler.daemon and self.suspended:
                most = there  # a cordoned host keeps what it runs
            excess = f"{there} instances run, {most} are asked for"
            self._lasting("too-much", scaler.workload, there > most, self._bounds.tidy, excess)
        for name in self._desired.applications:
            if self.suspended:
                self._since.pop(("status", name), None)
                continue
            told = self._universe.statuses.get(name, "")
            true = self.shortcomings(name)
            wrong = bool(hosts) and (told == "deployed") is bool(true) and told != "failed"
            text = f"the status says {told or 'nothing'}, but {'; '.join(true) or 'everything runs as asked'}"
            self._lasting("status", name, wrong, self._bounds.tidy, text)

    def _lasting(self, kind: str, who: str, wrong: bool, bound: float, text: str) -> None:
        key, now = (kind, who), self._universe.clock.now
        if not wrong:
            self._since.pop(key, None)
            return
        since = max(self._since.setdefault(key, now), self._calm_since)
        if now - since > bound:
            raise Violated(kind, f"{who}: {text}, for more than {bound:g} s without a new fault")

    # in the end ---------------------------------------------------------------------------------------

    def shortcomings(self, only: str | None = None) -> list[str]:
        """What differs from what is asked for; `only`: of that application."""
        hosts, found = self.reachable(), []
        for scaler in self._desired.all_workloads():
            if scaler.id not in self._exempt and only in (None, scaler.app):
                found += self._judge(scaler, hosts)
        store = self._universe.bus.store
        for link_scaler in self._desired.all_links():
            if link_scaler.id in self._exempt or link_scaler.problem or only not in (None, link_scaler.app):
                continue
            stored = store.get("links", link_scaler.link.source_id)[0]
            if not isinstance(stored, tuple) or link_scaler.link.key not in {link.key for link in stored}:
                found.append(f"the link {link_scaler.name} is missing")
        for config in self._desired.all_configs():
            ours = config.properties is not None and only in (None, config.app)
            if ours and store.get("configs", config.name)[0] != config.properties:
                found.append(f"the config {config.name} is not as asked")
        return found

    def leftovers(self) -> list[str]:
        """What runs or is stored, and nobody asks for."""
        desired, store = self._desired, self._universe.bus.store
        wanted = {scaler.workload for scaler in desired.all_workloads()}
        links = {scaler.link.key for scaler in desired.all_links()}
        configs = {scaler.name for scaler in desired.all_configs()}
        found: list[str] = []
        for p in self.reachable():
            state = p.workloads.state
            running = {c.id: c.annotations for c in state.components} | {r.id: r.annotations for r in state.providers}
            managed = [id for id, annotations in running.items() if naming.APP_ANNOTATION in annotations]
            found += [f"{id} still runs on {p.id}" for id in managed if id not in wanted]
        stored = [link for some in store.items("links").values() for link in (some if isinstance(some, tuple) else ())]
        found += [
            f"the link {link.source_id} to {link.target} still exists" for link in stored if link.key not in links
        ]
        found += [f"the config {name} still exists" for name in store.items("configs").keys() - configs]
        return sorted(found)

    def _judge(self, scaler: WorkloadScaler, hosts: list[Process]) -> list[str]:
        eligible, running = self._eligible(scaler, hosts), self._running(scaler, hosts)
        name, shares = scaler.workload, compute_spread(scaler.instances, [s.weight for s in scaler.spreads])
        if scaler.daemon:
            each = 1 if scaler.provider else scaler.instances
            asked = {host: each for group in eligible for host in group}
            if not asked:
                return [f"{name} fits no host"]
            return [] if running == asked else [f"{name} runs on {_text(running)}, asked for is {_text(asked)}"]
        total = sum(running.values())
        if scaler.provider:
            asked_hosts = _matching(shares, eligible)
            if asked_hosts < sum(shares):
                return [f"{name} finds {asked_hosts} of {sum(shares)} hosts"]
            return [] if total == asked_hosts else [f"{name} runs on {_text(running)}, asked for are {asked_hosts}"]
        if any(share and not group for share, group in zip(shares, eligible, strict=True)):
            return [f"{name} has a spread that fits no host"]
        if total != scaler.instances:
            return [f"{name} runs on {_text(running)}, asked for are {scaler.instances} in all"]
        members = [host for group in eligible for host in group]
        if len(members) == len(set(members)):
            for share, group in zip(shares, eligible, strict=True):
                part = sum(running.get(host, 0) for host in group)
                if part != share:
                    return [f"{name} has {part} instances on {', '.join(group)}, asked for are {share}"]
        return []


def _takes_work(p: Process) -> bool:
    labels = p.workloads.state.labels
    return labels.get(CORDON_LABEL) != "true" and labels.get(DRAIN_LABEL) != "true" and not p.draining


def _fits(labels: Mapping[str, str], requirements: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in requirements.items())


def _most(scaler: WorkloadScaler, eligible: list[list[str]]) -> int:
    if not scaler.daemon:
        return scaler.instances
    each = 1 if scaler.provider else scaler.instances
    return each * max(1, len({host for group in eligible for host in group}))


def _matching(shares: list[int], eligible: list[list[str]]) -> int:
    """How many places can be filled with different hosts (augmenting paths, place by place)."""
    places = [i for i, share in enumerate(shares) for _ in range(min(share, len(eligible[i])))]
    taken: dict[str, int] = {}

    def fill(place: int, seen: set[str]) -> bool:
        for host in eligible[places[place]]:
            if host in seen:
                continue
            seen.add(host)
            if host not in taken or fill(taken[host], seen):
                taken[host] = place
                return True
        return False

    return sum(fill(place, set()) for place in range(len(places)))


def _text(running: Mapping[str, int]) -> str:
    return ", ".join(f"{host} ({count})" for host, count in sorted(running.items())) or "no host"
