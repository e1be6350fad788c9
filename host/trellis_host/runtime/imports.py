"""A component's imports that are not the host's own: each function becomes a call over a link.

The laws of this file: the target is looked up at the time of the call, so links change without restart; the
call gets what is left of the caller's own deadline; a resource that a call returns is a `Handle`, and the
sandbox holds that handle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from trellis_host.engine.api import HostFunction, HostInterface, HostResource, waiting
from trellis_host.wasi.context import WasiContext, WasiSettings
from trellis_lattice.invocation.api import Call, Handle, Invoker
from trellis_lattice.links import LinkTable
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import FuncType, InterfaceType, ResourceId, resources_in

__all__ = ["InvocationContext", "linked_interface"]


class InvocationContext(WasiContext):
    """What host functions see of one invocation: the world of WASI, and which links it has chosen."""

    __slots__ = ("link_names",)

    def __init__(self, settings: WasiSettings, deadline: float) -> None:
        super().__init__(settings, deadline)
        self.link_names: dict[str, str] | None = None
        """Unversioned interface → link name, where the component chose another than `default`."""

    def link_name(self, interface: str) -> str:
        return self.link_names.get(interface, "default") if self.link_names else "default"


def linked_interface(
    name: InterfaceName,
    type: InterfaceType,
    *,
    component: str,
    links: LinkTable,
    invoker: Invoker,
    resource: Callable[[ResourceId], HostResource],
) -> HostInterface:
    """An implementation of import `name` that sends each call to whatever it is linked to.

    `resource(id)` gives the one `HostResource` of that resource type in this component.
    """
    functions = {
        function: _linked_function(name, function, signature, component, links, invoker)
        for function, signature in type.functions.items()
    }
    return HostInterface(
        name, functions, {each: resource(_resource_id(name.unversioned, each, type)) for each in type.resources}
    )


def _resource_id(interface: str, name: str, type: InterfaceType) -> ResourceId:
    """Which resource an interface means by `name`: one it uses from elsewhere shows in its functions as such."""
    for function in type.functions.values():
        for part in (*(param for _, param in function.params), function.result):
            for id in resources_in(part):
                if id.name == name:
                    return id
    return ResourceId(interface, name)


def _linked_function(
    name: InterfaceName, function: str, type: FuncType, component: str, links: LinkTable, invoker: Invoker
) -> HostFunction:
    interface, key = str(name), name.unversioned
    method = function.startswith("[method]")

    def call(context: InvocationContext, *args: Any) -> Awaitable[Any]:
        link_name = context.link_name(key)
        target = links.resolve(component, key, link_name).target
        owner = args[0].owner if method and args and isinstance(args[0], Handle) else ""
        return invoker.invoke(
            Call(
                target=target,
                interface=interface,
                function=function,
                args=args,
                type=type,
                deadline=context.deadline,
                source=component,
                link_name=link_name,
                instance=owner or None,
            )
        )

    return waiting(call)
