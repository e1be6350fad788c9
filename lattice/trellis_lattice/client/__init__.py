"""The client side of a lattice: typed calls for every control operation.

    async with await LatticeClient.connect(ConnectionSettings(), "default", timeout=5) as lattice:
        for host in await lattice.hosts():
            print((await lattice.inventory(host.id)).components)

The laws of this file: `timeout` is in seconds and bounds the whole call; whatever goes wrong is a
`TrellisError` that names lattice and host; a refusal by the other side is raised, not returned; a command is
acknowledged when it returns, and done when its event comes (`wait` on the commands that have it).
"""

from __future__ import annotations

from trellis_lattice.client.components import Components
from trellis_lattice.client.hosts import Hosts
from trellis_lattice.client.providers import Providers
from trellis_lattice.client.state import State

__all__ = ["LatticeClient"]


class LatticeClient(Hosts, Components, Providers, State):
    """Calls on one lattice over a connection that others may use too."""
