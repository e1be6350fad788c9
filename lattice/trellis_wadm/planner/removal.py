"""What no application asks for any more: found by comparing, never by remembering a request to undeploy."""

from __future__ import annotations

from collections import defaultdict

from trellis_lattice.links import Link
from trellis_wadm import naming
from trellis_wadm.planner.commands import DeleteConfig, DeleteLink, StopProvider
from trellis_wadm.planner.components import stop_component
from trellis_wadm.planner.desired import Desired
from trellis_wadm.planner.link import rivals
from trellis_wadm.planner.ports import Ports
from trellis_wadm.planner.providers import is_managed
from trellis_wadm.planner.result import Stage, Step
from trellis_wadm.planner.view import View, slot_of
from trellis_wadm.planner.world import LinkKey, SlotKey

__all__ = ["remove_configs", "remove_links", "remove_workloads"]


def remove_workloads(desired: Desired, view: View, ports: Ports) -> list[Step]:
    """Stops what a reconciler once started and no application names now."""
    wanted = {scaler.workload for scaler in desired.all_workloads()}
    steps: list[Step] = []
    for host in view.hosts:
        if not (host.live and host.known):
            continue
        for id, component in sorted(host.components.items()):
            if id not in wanted and is_managed(component):
                steps.append(stop_component(host, component))
        for id, provider in sorted(host.providers.items()):
            if id not in wanted and is_managed(provider):
                # Its port may be the one that its successor opens, so it goes before that starts.
                stage = Stage.CLEAR if ports.all_wanted & ports.open.get(id, set()) else Stage.STOP
                app = provider.annotations.get(naming.APP_ANNOTATION)
                steps.append(Step(stage, StopProvider(host.id, id), "no application asks for it", app))
    return steps


def remove_links(desired: Desired, view: View, ports: Ports) -> list[Step]:
    """Deletes links that applications brought and no application names now."""
    slots: dict[SlotKey, list[Link]] = defaultdict(list)
    keys: set[LinkKey] = set()
    for scaler in desired.all_links():
        slots[slot_of(scaler.link)].append(scaler.link)
        keys.add(scaler.link.key)
    steps: list[Step] = []
    for link in view.observed.links:
        key = link.key
        if key in keys or key not in view.observed.owned.links:
            continue
        in_the_way = rivals(link, slots.get(slot_of(link), ())) or ports.all_wanted & ports.of(link)
        stage = Stage.CLEAR if in_the_way else Stage.UNLINK
        command = DeleteLink(link.source_id, link.target, link.name, link.wit_namespace, link.wit_package)
        steps.append(Step(stage, command, "no application asks for it"))
    return steps


def remove_configs(desired: Desired, view: View) -> list[Step]:
    """Deletes configs that applications brought and no application names now."""
    wanted = {scaler.name for scaler in desired.all_configs()}
    gone = sorted(view.observed.owned.configs & view.observed.configs.keys() - wanted)
    return [Step(Stage.FORGET, DeleteConfig(name), "no application asks for it") for name in gone]
