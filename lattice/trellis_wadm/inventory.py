"""From what a host says about itself to what the planner looks at. Pure.

One place, since the reconciler and `trellis app plan` must see the same world.
"""

from __future__ import annotations

from collections.abc import Collection

from trellis_lattice.control.host import HostInventory
from trellis_wadm.planner.world import Host, RunningComponent, RunningProvider

__all__ = ["CORDON_LABEL", "DRAIN_LABEL", "host_of"]

CORDON_LABEL = "trellis.dev/cordoned"
"""A host with this label set to `true` takes no new work."""
DRAIN_LABEL = "trellis.dev/draining"
"""A host with this label set to `true` gives its work away."""


def host_of(
    inventory: HostInventory,
    *,
    live: bool = True,
    draining: bool = False,
    since: float = 0.0,
    unhealthy: Collection[str] = (),
    load: float = 0.0,
    memory: float = 0.0,
) -> Host:
    """The host that an inventory describes.

    `draining` is what its beats say, besides its label; `since` when it came to be `live` or not; `unhealthy` are the
    ids of providers whose last health check failed; `load` and `memory` are from its beats.
    """
    components = {
        c.id: RunningComponent(c.id, c.image_ref, c.max_instances, dict(c.annotations or {}))
        for c in inventory.components
    }
    providers = {
        p.id: RunningProvider(
            p.id, p.image_ref, dict(p.annotations or {}), healthy=p.id not in unhealthy, problem=p.problem or ""
        )
        for p in inventory.providers
    }
    return Host(
        id=inventory.host_id,
        name=inventory.friendly_name,
        labels=inventory.labels,
        components=components,
        providers=providers,
        live=live,
        cordoned=inventory.labels.get(CORDON_LABEL) == "true",
        draining=draining or inventory.labels.get(DRAIN_LABEL) == "true",
        since=since,
        load=load,
        memory=memory,
        prepared=frozenset(inventory.prepared or ()),
    )
