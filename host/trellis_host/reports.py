"""What a host tells about the links of its providers, beyond what v1 knows."""

from __future__ import annotations

from collections.abc import Iterable

from trellis_host.runtime.providers import RunningProvider
from trellis_lattice.control.host import LinkReport

__all__ = ["link_reports"]

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
