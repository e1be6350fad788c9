"""`wasmcloud:bus/lattice`: a component chooses between links of the same interface by name (lattice-protocol 4.4).

The choice lasts for the invocation. `@1.0.0` answers nothing, `@2.0.x` a result, so both are told apart by the
type that the component imports.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trellis_host.engine.api import HostFunction, HostInterface, HostResource
from trellis_host.runtime.imports import InvocationContext
from trellis_lattice.links import LinkTable
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit import Err, Ok
from trellis_lattice.wit.types import InterfaceType

__all__ = ["LATTICE", "link_names_interface"]

LATTICE = "wasmcloud:bus/lattice"


class _Target(NamedTuple):
    namespace: str
    package: str
    interface: str

    def __str__(self) -> str:
        return f"{self.namespace}:{self.package}/{self.interface}"


_TARGET = HostResource("call-target-interface")


def link_names_interface(wanted: InterfaceName, type: InterfaceType, component: str, links: LinkTable) -> HostInterface:
    """The interface for one component, which sees its own links only."""
    function = type.functions.get("set-link-name")
    answers = function is not None and function.result is not None

    def set_link_name(context: InvocationContext, name: str, interfaces: list[_Target]) -> Any:
        missing = [str(each) for each in interfaces if links.find(component, str(each), name) is None]
        if answers and missing:
            return Err(f"interface `{missing[0]}` does not have an existing link with name `{name}`")
        chosen = context.link_names = context.link_names or {}
        for each in interfaces:
            chosen[str(each)] = name
        return Ok(None) if answers else None

    return HostInterface(
        wanted,
        {
            "[constructor]call-target-interface": HostFunction(lambda context, *names: _Target(*names)),
            "set-link-name": HostFunction(set_link_name),
        },
        {"call-target-interface": _TARGET},
    )
