"""What a manifest manages is not changed by hand: whose it is, and the error that says so.

The law of this file: whoever says `--force` gets what was asked for; whoever does not learns which application it
is and which command does it properly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from trellis_lattice.errors import Conflict

if TYPE_CHECKING:
    from trellis_cli.lattice import Lattice
    from trellis_lattice.control.host import HostInventory
    from trellis_wadm.ledger import Ledger

__all__ = ["application_of", "managed", "manager_of", "owner_of_config", "read_ledger", "refusal", "refuse_managed"]

_MANAGED_BY = "wasmcloud.dev/managed-by"
_APP = "wasmcloud.dev/appspec"


def manager_of(annotations: Mapping[str, str] | None) -> str | None:
    """The application whose manifest brought a workload; None if somebody started it by hand."""
    found = annotations or {}
    if _MANAGED_BY not in found:
        return None
    return found.get(_APP) or "an application"


def managed(id: str, inventories: Iterable[HostInventory]) -> str | None:
    """The application that manages a component or provider anywhere; None if none does."""
    for host in inventories:
        found = {item.id: item.annotations for item in host.components}
        found |= {item.id: item.annotations for item in host.providers}
        if (app := manager_of(found.get(id))) is not None:
            return app
    return None


def application_of(id: str, inventories: Iterable[HostInventory]) -> str:
    """The application of a workload, for a sentence."""
    return managed(id, inventories) or "an application"


def owner_of_config(name: str, applications: Iterable[str]) -> str:
    """The application whose manifest made a config: its name begins with that of the application."""
    from trellis_wadm.naming import sanitize

    plain = name.removeprefix("SECRET_")
    owners = [app for app in applications if plain.startswith(f"{sanitize(app)}-")]
    return max(owners, key=len, default="an application")


def refusal(what: str, app: str, verb: str) -> Conflict:
    """`what` belongs to `app` and is not to be `verb` by hand."""
    named = app if app == "an application" else f"application `{app}`"
    name = "NAME" if app == "an application" else app
    return Conflict(
        f"{what} belongs to {named}; by hand it would be {verb} only until its manifest is enforced again.",
        remedy=f"Change its manifest and deploy that: trellis app get {name} > app.yaml; trellis app deploy app.yaml. "
        f"Or do it anyway with --force.",
        application=None if app == "an application" else app,
    )


def refuse_managed(kind: str, id: str, inventories: Iterable[HostInventory], verb: str, *, force: bool) -> None:
    """Raises `Conflict` if a manifest manages the workload, unless `force`."""
    app = None if force else managed(id, inventories)
    if app is not None:
        raise refusal(f"{kind.capitalize()} `{id}`", app, verb)


async def read_ledger(lattice: Lattice) -> Ledger:
    """Which links and configs applications brought; nothing if no scheduler ever ran."""
    import asyncio

    from trellis_lattice.bus.kv_jetstream import open_bucket
    from trellis_lattice.errors import NotFound
    from trellis_lattice.subjects import trellis_bucket
    from trellis_wadm.ledger import Ledger, LedgerFile

    deadline = asyncio.get_running_loop().time() + lattice.timeout
    try:
        bucket = await open_bucket(
            lattice.client.connection, trellis_bucket(lattice.name), deadline=deadline, create=False
        )
    except NotFound:
        return Ledger()
    return await LedgerFile(bucket).read(deadline=deadline)
