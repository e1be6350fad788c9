"""A component's imports that are not the host's own: each function becomes a call over a link.

The laws of this file: the target is looked up at the time of the call, so links change without restart; the
call gets what is left of the caller's own deadline; a resource that a call returns is a `Handle`, and the
sandbox holds that handle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from trellis_host.engine.api import HostFunction, HostInterface, HostResource, waiting
from trellis_host.wasi.context import WasiContext, WasiSettings
from trellis_lattice.errors import NotFound
from trellis_lattice.invocation.api import Call, Handle, Invoker
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import FuncType, InterfaceType

__all__ = ["InvocationContext", "LinkTargets", "handle_resource", "linked_interface"]


class InvocationContext(WasiContext):
    """What host functions see of one invocation: the world of WASI, and which links it has chosen."""

    __slots__ = ("link_names",)

    def __init__(self, settings: WasiSettings, deadline: float) -> None:
        super().__init__(settings, deadline)
        self.link_names: dict[str, str] | None = None
        """Unversioned interface → link name, where the component chose another than `default`."""

    def link_name(self, interface: str) -> str:
        return self.link_names.get(interface, "default") if self.link_names else "default"


class LinkTargets(Protocol):
    """The links of one source, as they are now."""

    def target(self, link_name: str, interface: str) -> str | None:
        """The id that the source's link `link_name` leads to for the unversioned interface."""


def linked_interface(
    name: InterfaceName,
    type: InterfaceType,
    *,
    component: str,
    targets: LinkTargets,
    invoker: Invoker,
    resource: Callable[[str], HostResource],
) -> HostInterface:
    """An implementation of import `name` that sends each call to whatever it is linked to.

    `resource(name)` gives the one `HostResource` of that resource type in this component.
    """
    functions = {
        function: _linked_function(name, function, signature, component, targets, invoker)
        for function, signature in type.functions.items()
    }
    return HostInterface(name, functions, {each: resource(each) for each in type.resources})


def handle_resource(name: str, drop_handle: Callable[[Handle], None]) -> HostResource:
    """A resource type whose values are handles; dropping an owned one tells its owner."""

    def drop(context: Any, value: Any) -> None:
        if isinstance(value, Handle) and value.owner:
            drop_handle(value)

    return HostResource(name, drop)


def _linked_function(
    name: InterfaceName, function: str, type: FuncType, component: str, targets: LinkTargets, invoker: Invoker
) -> HostFunction:
    interface, key = str(name), name.unversioned
    method = function.startswith("[method]")

    def call(context: InvocationContext, *args: Any) -> Awaitable[Any]:
        link_name = context.link_name(key)
        target = targets.target(link_name, key)
        if target is None:
            raise NotFound(
                f"Component {component!r} called {interface}.{function}, but has no link named {link_name!r} for {key}.",
                remedy=f"Add a link trait from {component!r} with namespace {name.namespace}, package {name.package}, "
                f"interfaces [{name.interface}] to its manifest.",
                component=component,
                interface=interface,
                link_name=link_name,
            )
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
