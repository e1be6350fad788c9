"""A component bound to those who answer its imports. Built once per component and set of links, used for every call.

The linker defines exactly what the component imports, under the exact names it uses; which implementation answers a
name is the resolver's business (by semver track). So no default of wasmtime shadows or replaces anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trellis_host.engine import ffi, imports
from trellis_host.engine.api import HostInterface, HostResource, ImportResolver, Limits
from trellis_host.engine.failures import call_failure
from trellis_host.engine.lift import lifter, owns_memory
from trellis_host.engine.lower import BoundResource, Resources, lowerer
from trellis_host.engine.reflect import ComponentTypes
from trellis_host.engine.running import Running, Sandbox
from trellis_lattice.errors import NotFound, RequestInvalid, TrellisError
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import FuncType, InterfaceType

if TYPE_CHECKING:
    from trellis_host.engine.component import Component

__all__ = ["Export", "LinkedComponent", "link"]

_DEFAULT_LIMITS = Limits()


class Export:
    """An exported function with its converters. `interface` has the component's own version; "" is the root."""

    __slots__ = (
        "_component",
        "_index",
        "frees",
        "function",
        "index_address",
        "interface",
        "lift",
        "lowers",
        "results",
        "type",
    )

    def __init__(
        self, component: str, interface: str, function: str, type: FuncType, resources: Resources, index: Any
    ) -> None:
        self._component = component
        self._index = index
        self.interface = interface
        self.function = function
        self.type = type
        self.index_address = 0 if index is None else ffi.pointer(index)
        self.lowers = [lowerer(param, resources) for _, param in type.params]
        self.lift = None if type.result is None else lifter(type.result, resources)
        self.results = 0 if type.result is None else 1
        self.frees = owns_memory(type.result)

    def __str__(self) -> str:
        return f"{self.interface}.{self.function}" if self.interface else self.function

    def failure(self, text: str) -> TrellisError:
        """What an error of wasmtime during this call means."""
        return call_failure(text, self._component, self.interface, self.function)

    def wrong_count(self, args: Sequence[Any]) -> RequestInvalid:
        names = ", ".join(name for name, _ in self.type.params) or "none"
        return RequestInvalid(f"{self} takes {len(self.lowers)} arguments ({names}), got {len(args)}.")


class LinkedComponent:
    """A component that can be called. Cheap to keep; each call gets a fresh sandbox, unless `sandbox` is asked for."""

    def __init__(
        self,
        component: Component,
        linker: ffi.WasmtimeLinker,
        resources: Resources,
        registered: Sequence[int],
        name: str,
    ) -> None:
        self.component = component
        self.name = name
        self.address = ffi.pointer(linker)
        self.component_address = component.address
        self.engine_address = component.engine.address_of_engine(component)
        self.ticker = component.engine.ticker
        self.tasks: set[asyncio.Future[Any]] = component.engine.tasks
        self._linker = linker
        self._resources = resources
        self._registered = registered
        self._exports: dict[tuple[str, str], Export] = {}
        self._nothing = Export(name, "", "instantiation", FuncType(()), resources, None)

    def __del__(self) -> None:
        if hasattr(self, "_registered"):
            del self._linker  # it knows the numbers
            for number in self._registered:
                imports.unregister(number)

    @property
    def exports(self) -> Mapping[str, InterfaceType]:
        return self.component.exports

    def export(self, interface: str, function: str) -> Export:
        """The function to call. `interface` with any version of the same semver track, or none; "" is the root.

        Raises `NotFound` naming what there is.
        """
        found = self._exports.get((interface, function))
        if found is None:
            name, type = self._find(interface, function)
            index = self.component.export_index(name, function)
            found = Export(self.name, name, function, type, self._resources, index)
            self._exports[interface, function] = found
        return found

    def _find(self, interface: str, function: str) -> tuple[str, FuncType]:
        exports = self.component.exports
        name = interface if interface in exports else _same_track(interface, exports)
        if name is None:
            raise NotFound(
                f"Component {self.name} does not export interface {interface or '(functions of the root)'}.",
                remedy=f"It exports: {', '.join(filter(None, exports)) or 'no interface'}.",
            )
        type = exports[name].functions.get(function)
        if type is None:
            raise NotFound(
                f"Interface {name or '(the root)'} of component {self.name} has no function {function}.",
                remedy=f"It has: {', '.join(exports[name].functions) or 'none'}.",
            )
        return name, type

    def start(
        self, export: Export, args: Sequence[Any], context: Any, limits: Limits = _DEFAULT_LIMITS, *, deadline: float
    ) -> Running:
        """Makes a fresh sandbox and calls `export` in it, up to its first suspension.

        `deadline`: time of the running event loop. Raises `RequestInvalid` for wrong arguments and `Overloaded`
        when no sandbox is free; everything later is raised by `Running.result`.
        """
        self.component.engine.check_open()
        return Running(Sandbox(self, context, limits), export, args, deadline)

    async def call(
        self, export: Export, args: Sequence[Any], context: Any, limits: Limits = _DEFAULT_LIMITS, *, deadline: float
    ) -> Any:
        """`start`, then the result."""
        return await self.start(export, args, context, limits, deadline=deadline).result()

    async def sandbox(self, context: Any, limits: Limits = _DEFAULT_LIMITS, *, deadline: float) -> Sandbox:
        """An instance to call more than once, for components whose own resources live across calls.

        `deadline` bounds the instantiation. Close the sandbox when done.
        """
        self.component.engine.check_open()
        sandbox = Sandbox(self, context, limits)
        await Running(sandbox, self._nothing, (), deadline, keep=True).result()
        return sandbox


def _same_track(interface: str, exports: Mapping[str, InterfaceType]) -> str | None:
    try:
        wanted = InterfaceName.parse(interface)
    except RequestInvalid:
        return None
    for name in exports:
        try:
            if InterfaceName.parse(name).answers(wanted):
                return name
        except RequestInvalid:
            continue
    return None


def link(component: Component, types: ComponentTypes, resolve: ImportResolver, name: str) -> LinkedComponent:
    """Binds every import. Raises `NotFound` listing all that nobody provides."""
    found = _resolve_all(types, resolve, name)
    linker = component.engine.new_linker(component)
    registered: list[int] = []
    numbers: dict[HostResource, int] = {}
    bound: dict[Any, BoundResource] = {}
    for import_name, interface in found.items():
        for part, identity in types.resources.get(import_name, {}).items():
            if identity not in bound:
                resource = interface.resources[part]
                bound[identity] = BoundResource(resource, numbers.setdefault(resource, len(numbers) + 1))
    with linker.root() as root:
        for import_name, interface in found.items():
            if import_name:
                with root.add_instance(import_name) as instance:
                    _define(ffi.pointer(instance), types, import_name, interface, bound, registered)
            else:
                _define(ffi.pointer(root), types, import_name, interface, bound, registered)
    return LinkedComponent(component, linker, bound, registered, name)


def _resolve_all(types: ComponentTypes, resolve: ImportResolver, component: str) -> dict[str, HostInterface]:
    found: dict[str, HostInterface] = {}
    missing: list[str] = []
    first_name: dict[Any, str] = {}
    for import_name, type in types.imports.items():
        interface = resolve(_import_name(import_name), type)
        if interface is None:
            missing.append(import_name or f"(root functions {', '.join(type.functions)})")
            continue
        functions = [function for function in type.functions if function not in interface.functions]
        resources = [
            part
            for part, identity in types.resources.get(import_name, {}).items()
            if first_name.setdefault(identity, import_name) == import_name
            and part == identity.name
            and part not in interface.resources
        ]
        if functions or resources:
            lacking = ", ".join([*functions, *(f"resource {part}" for part in resources)])
            missing.append(f"{import_name or '(root)'} ({lacking})")
        found[import_name] = interface
    if missing:
        raise NotFound(
            f"Component {component} imports what nobody here provides: {'; '.join(missing)}.",
            remedy="Link it to a provider or component that supplies the interface, or build it without the import.",
            component=component,
            missing=missing,
        )
    return found


def _import_name(text: str) -> InterfaceName:
    try:
        return InterfaceName.parse(text)
    except RequestInvalid:
        return InterfaceName("", "", text)


def _define(
    instance: int,
    types: ComponentTypes,
    import_name: str,
    interface: HostInterface,
    bound: Resources,
    registered: list[int],
) -> None:
    for part, identity in types.resources.get(import_name, {}).items():
        ffi.add_resource(instance, part, bound[identity].number, imports.DESTRUCTOR, 0)
    for function, type in types.imports[import_name].functions.items():
        host = interface.functions[function]
        label = f"{import_name}.{function}" if import_name else function
        number = imports.register(imports.BoundFunction(host, type, bound, label))
        registered.append(number)
        if host.waits:
            ffi.add_func_async(instance, function, imports.HOST_WAIT, number)
        else:
            ffi.add_func(instance, function, imports.HOST_CALL, number)
