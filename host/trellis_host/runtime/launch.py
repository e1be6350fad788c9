"""From a component as asked for to one that runs: fetch, compile, find who answers its imports.

The laws of this file: nothing is half-started; every way this can fail is one `TrellisError` that says what to
do. An import that is neither WASI nor linked fails the start where a manifest is the whole truth about the
component; started by hand, it may be linked later, and calls fail until then.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from trellis_host.engine.api import HostInterface, HostResource, ImportResolver, LoadProgress
from trellis_host.runtime.admission import Admission, GuardedComponent
from trellis_host.runtime.components import RunningComponent
from trellis_host.runtime.engines import ComponentLike, EngineLike
from trellis_host.runtime.images import Images
from trellis_host.runtime.imports import linked_interface
from trellis_host.runtime.link_names import LATTICE, link_names_interface
from trellis_host.runtime.shared_state import SharedState
from trellis_host.runtime.world import execution_limits, wasi_settings
from trellis_host.state import ComponentSpec
from trellis_host.wasi import OutgoingClient, TaskOwner, WasiImports
from trellis_lattice.errors import Conflict, NotFound, RequestInvalid
from trellis_lattice.invocation.api import Invoker
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.describe import differences
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
        engine: EngineLike,
        shared: SharedState,
        invoker: Invoker,
        images: Images,
        admission: Admission,
        *,
        owner: TaskOwner,
        client: OutgoingClient | None,
        drop: Callable[[Any], None],
        offered: Callable[[str], Awaitable[Mapping[str, InterfaceType]]],
    ) -> None:
        self._offered = offered
        self._engine = engine
        self._shared = shared
        self._invoker = invoker
        self._images = images
        self.admission = admission
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
        wasm = await self._images.fetch(spec.image, deadline=deadline)
        signature = await self.admission.component(spec, wasm)
        try:
            component = await self._engine.load(wasm, progress=progress)
        except RequestInvalid as error:
            raise RequestInvalid(f"{spec.image}: {error.message}", remedy=error.remedy, image=spec.image) from None
        await self._check_links(spec, component, deadline)
        if signature is not None:
            await self._shared.put_claims(signature.claims, deadline=deadline)
        linked = component.link(self._resolver(spec.id), name=spec.id)
        permit = self.admission.invocations(spec)
        if permit is None:
            return RunningComponent(spec, component, linked, settings, limits=limits, timeout=timeout)
        return GuardedComponent(spec, component, linked, settings, limits=limits, timeout=timeout, permit=permit)

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

    async def _check_links(self, spec: ComponentSpec, component: ComponentLike, deadline: float) -> None:
        needed = [name for name in component.imports if name and self._needs_link(name, component.imports[name])]
        if not needed:
            return
        if any(not self._is_linked(spec.id, name) for name in needed):
            await self._shared.refresh_links(spec.id, deadline=deadline)
        missing = [name for name in needed if not self._is_linked(spec.id, name)]
        if not missing:
            await self._check_types(spec.id, component.imports)
            return
        error = _unlinked(spec.id, missing)
        if MANAGED_BY in spec.annotations:
            raise error
        _log.warning("%s Calls to it fail until then.", error)

    async def _check_types(self, component: str, imports: Mapping[str, InterfaceType]) -> None:
        """Compares each import with what its link's target says it answers, where that runs already."""
        for name, wanted in imports.items():
            if not name or not self._needs_link(name, wanted):
                continue
            interface = InterfaceName.parse(name)
            link = self._shared.links.find(component, interface.unversioned)
            if link is None:
                continue
            for offered_name, offered in (await self._offered(link.target)).items():
                # some toolchains export an instance with a plain name beside their interfaces; nobody can import it
                if ":" in offered_name and InterfaceName.parse(offered_name).answers(interface):
                    found = differences(wanted, offered)
                    if found:
                        raise _mismatch(component, name, link.target, found)

    def _needs_link(self, name: str, type: InterfaceType) -> bool:
        wanted = InterfaceName.parse(name)
        if not type.functions:
            return False
        return self._wasi.resolve(wanted, type) is None and wanted.unversioned != LATTICE

    def _is_linked(self, component: str, name: str) -> bool:
        interface = InterfaceName.parse(name).unversioned
        return any(interface in by for by in self._shared.links.table(component).values())


def _mismatch(component: str, interface: str, target: str, found: list[str]) -> Conflict:
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return Conflict(
        f"Component {component!r} and {target!r} do not agree on {interface}: {'; '.join(found[:3])}{more}.",
        remedy="Build both from the same WIT, or link to a target that offers this version.",
        component=component,
        target=target,
        interface=interface,
        differences=found[:32],
    )


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
