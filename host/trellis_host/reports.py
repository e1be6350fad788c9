"""What a host says of itself when it is asked: the inventory, in v1's keys and some of our own that v1 ignores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trellis_host.runtime.providers import RunningProvider
from trellis_host.runtime.workloads import Workloads
from trellis_host.state import HostState
from trellis_lattice.control.host import (
    CallCount,
    ComponentDescription,
    HostInventory,
    LinkReport,
    ProviderDescription,
    uptime_human,
)

__all__ = ["describe", "link_reports", "problems_of"]

_MOST = 4096
"""Links that one inventory tells about."""


def link_reports(providers: Iterable[RunningProvider]) -> tuple[LinkReport, ...]:
    """Each link that a provider here has or refuses; refused ones first, bounded."""
    found = []
    for provider in providers:
        accepted = {each.key: None for each in provider.runner.links}
        for key, problem in {**accepted, **provider.refused_links}.items():
            source, target, namespace, package, name = key
            found.append(
                LinkReport(
                    provider_id=provider.spec.id,
                    source_id=source,
                    target=target,
                    name=name,
                    wit_namespace=namespace,
                    wit_package=package,
                    problem=problem,
                )
            )
    return tuple(sorted(found, key=lambda report: report.problem is None)[:_MOST])


def problems_of(workloads: Workloads) -> dict[str, str]:
    """What is wrong with each provider, by its id: how it is, or the links it refused, and why."""
    refused = {each.spec.id: each.refused_links for each in workloads.providers}
    links = {id: "; ".join(dict.fromkeys(reasons.values())) for id, reasons in refused.items() if reasons}
    return {**links, **workloads.supervision.problems}


def describe(
    state: HostState,
    workloads: Workloads,
    *,
    friendly_name: str,
    version: str,
    uptime: int,
    draining: bool,
    prepared: Sequence[str],
    cut_off: str | None,
    counts: Sequence[tuple[str, str, int, int]] | None,
) -> HostInventory:
    """What a host runs. With `counts` (source, target, local, lattice) it is the answer to a question, which also says
    what a heartbeat leaves out."""
    asked = counts is not None
    problems = problems_of(workloads)
    return HostInventory(
        host_id=state.host_id,
        friendly_name=friendly_name,
        version=version,
        uptime_human=uptime_human(uptime),
        uptime_seconds=uptime,
        labels=state.labels,
        components=tuple(
            ComponentDescription(
                id=each.id,
                image_ref=each.image,
                annotations=dict(each.annotations),
                max_instances=each.max_instances,
                limits=dict(each.limits) if each.limits is not None else None,
                config=each.config,
            )
            for each in state.components
        ),
        providers=tuple(
            ProviderDescription(
                id=each.id,
                image_ref=each.image,
                annotations=dict(each.annotations),
                problem=problems.get(each.id),
                restarts=workloads.supervision.restarts(each.id),
                config=each.config,
            )
            for each in state.providers
        ),
        calls=tuple(
            CallCount(source=source, target=target, local=local, lattice=lattice)
            for source, target, local, lattice in counts
        )
        if counts is not None
        else None,
        links=link_reports(workloads.providers) if asked else (),
        in_flight=workloads.in_flight if asked else None,
        draining=draining,
        prepared=tuple(prepared),
        starting=tuple(state.starting),
        cut_off=cut_off,
    )
