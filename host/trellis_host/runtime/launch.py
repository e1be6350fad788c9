"""From a component as asked for to one that runs: fetch, compile, find who answers its imports.

The laws of this file: nothing is half-started; every way this can fail is one `TrellisError` that says what to
do. An import that is neither WASI nor linked fails the start where a manifest is the whole truth about the
component; started by hand, it may be linked later, and calls fail until then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from trellis_host.engine import Component, Engine, HostInterface, HostResource, ImportResolver, LoadProgress
from trellis_host.runtime.components import RunningComponent
from trellis_host.runtime.images import fetch_image
from trellis_host.runtime.imports import linked_interface
from trellis_host.runtime.link_names import LATTICE, link_names_interface
from trellis_host.runtime.shared_state import SharedState
from trellis_host.runtime.world import execution_limits, wasi_settings
from trellis_host.state import ComponentSpec
from trellis_host.wasi import OutgoingClient, TaskOwner, WasiImports
from trellis_lattice.errors import NotFound
from trellis_lattice.invocation.api import Invoker
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import InterfaceType, ResourceId

__all__ = ["Launcher"]

_log = logging.getLogger("trellis.host")

MANAGED_BY = "wasmcloud.dev/managed-by"
"""Annotation of everything that a manifest declares (lattice-protocol 7.5)."""

_SUPPLIERS: Mapping[str, str] = {
    "wasi:keyvalue": "keyvalue-nats",
}
"""Package → the provider of ours that supplies it."""


class Launcher:
    """Starts components on one host."""

    def __init__(
        self,
        engine: Engine,
        shared: SharedState,
        invoker: Invoker,
        *,
        owner: TaskOwner,
        client: OutgoingClient | None,
        drop: Callable[[Any], None],
    ) -> None:
        self._engine = engine
        self._shared = shared
        self._invoker = invoker
        self._owner = owner
        self._client = client
        self._drop = drop
        self._wasi = WasiImports()

    async def launch(
        self, spec: ComponentSpec, *, deadline: float, progress: LoadProgress | None = None
    ) -> RunningComponent:
        """The running component. `deadline` (loop time) bounds the fetching; compiling takes what it takes."""
        await self._shared.refresh_config(spec.config, deadline=deadline)
        self._shared.config(spec.config)  # names that do not exist fail the start
        limits, timeout = execution_limits(spec)
        settings = wasi_settings(spec, self._shared, client=self._client, owner=self._owner)
        wasm = await fetch_image(spec.image, deadline=deadline)
        component = await self._engine.load(wasm, progress=progress)
        await self._check_links(spec, component, deadline)
        linked = component.link(self._resolver(spec.id), name=spec.id)
        return RunningComponent(spec, component, linked, settings, limits=limits, timeout=timeout)

    def _resolver(self, component: str) -> ImportResolver:
        resources: dict[str, HostResource] = {}

        def resource(id: ResourceId) -> HostResource:
            found = resources.get(str(id))
            if found is None:
                found = resources[str(id)] = HostResource(str(id), lambda context, value: self._drop(value))
            return found

        def resolve(wanted: InterfaceName, type: InterfaceType) -> HostInterface | None:
            own = self._wasi.resolve(wanted, type)
            if own is not None:
                return own
            if wanted.unversioned == LATTICE:
                return link_names_interface(wanted, type, component, self._shared.links)
            if not wanted.namespace:
                return None  # a function at the root: links are between interfaces
            return linked_interface(
                wanted,
                type,
                component=component,
                links=self._shared.links,
                invoker=self._invoker,
                resource=resource,
            )

        return resolve

    async def _check_links(self, spec: ComponentSpec, component: Component, deadline: float) -> None:
        needed = [name for name in component.imports if name and self._needs_link(name, component.imports[name])]
        if not needed:
            return
        if any(not self._is_linked(spec.id, name) for name in needed):
            await self._shared.refresh_links(spec.id, deadline=deadline)
        missing = [name for name in needed if not self._is_linked(spec.id, name)]
        if not missing:
            return
        error = _unlinked(spec.id, missing)
        if MANAGED_BY in spec.annotations:
            raise error
        _log.warning("%s Calls to it fail until then.", error)

    def _needs_link(self, name: str, type: InterfaceType) -> bool:
        wanted = InterfaceName.parse(name)
        if not type.functions:
            return False
        return self._wasi.resolve(wanted, type) is None and wanted.unversioned != LATTICE

    def _is_linked(self, component: str, name: str) -> bool:
        interface = InterfaceName.parse(name).unversioned
        return any(interface in by for by in self._shared.links.table(component).values())


def _unlinked(component: str, missing: list[str]) -> NotFound:
    names = [InterfaceName.parse(name) for name in missing]
    hints = []
    for name in names:
        supplier = _SUPPLIERS.get(f"{name.namespace}:{name.package}")
        what = f"provider {supplier}" if supplier else "a component or provider that exports it"
        hints.append(
            f"link it to {what} (namespace: {name.namespace}, package: {name.package}, interfaces: [{name.interface}])"
        )
    return NotFound(
        f"Component {component!r} imports {', '.join(missing)}, which nobody provides.",
        remedy=f"In its manifest: {'; '.join(dict.fromkeys(hints))}.",
        component=component,
        imports=missing,
    )
