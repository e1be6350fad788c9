"""A component that runs on this host: its code, its slots, its links, and the calls it answers.

The laws of this file: every call gets a fresh sandbox and its own context; a call holds a slot from before
its sandbox is made until the component is really done, streams included; nothing here outlives `close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from trellis_host.engine import Component, Export, LinkedComponent
from trellis_host.engine.api import Limits
from trellis_host.runtime.imports import InvocationContext
from trellis_host.runtime.slots import Slots
from trellis_host.state import ComponentSpec
from trellis_host.wasi.context import WasiSettings
from trellis_host.wasi.http.exchange import start_http
from trellis_lattice.errors import NotFound, RequestInvalid
from trellis_lattice.http import HANDLE, HANDLE_TYPE, INCOMING_HANDLER
from trellis_lattice.invocation.api import Call
from trellis_lattice.names import InterfaceName
from trellis_lattice.wit.types import FuncType, InterfaceType

__all__ = ["RunningComponent"]


class RunningComponent:
    """Answers calls to one component (a `LocalService`).

    `settings` is the world its invocations see; `limits` bounds each of them; `timeout` (seconds) bounds how
    long one may run whatever its caller allows.
    """

    def __init__(
        self,
        spec: ComponentSpec,
        component: Component,
        linked: LinkedComponent,
        settings: WasiSettings,
        *,
        limits: Limits,
        timeout: float,
    ) -> None:
        self.spec = spec
        self.component = component
        self.slots = Slots(spec.id, spec.max_instances)
        self._linked = linked
        self._settings = settings
        self._limits = limits
        self._timeout = timeout
        self._exports: dict[tuple[str, str], tuple[Export, FuncType]] = {}

    @property
    def has_capacity(self) -> bool:
        return self.slots.free

    @property
    def exports(self) -> Mapping[str, InterfaceType]:
        return self.component.exports

    def reshape(self, spec: ComponentSpec) -> None:
        """New bounds for what already runs."""
        self.spec = spec
        self.slots.resize(spec.max_instances)

    def function_type(self, interface: str, function: str) -> FuncType:
        return self._find(interface, function)[1]

    async def serve(self, call: Call) -> Any:
        export, _ = self._find(call.interface, call.function)
        slots = self.slots
        if not slots.try_acquire():
            await slots.acquire(call.deadline)
        deadline = min(call.deadline, asyncio.get_running_loop().time() + self._timeout)
        context = InvocationContext(self._settings, deadline)
        if call.function == HANDLE and call.interface.startswith(INCOMING_HANDLER):
            return await start_http(
                self._linked, export, call.args[0], context, self._limits, deadline, done=slots.release
            )
        try:
            return await self._linked.call(export, call.args, context, self._limits, deadline=deadline)
        finally:
            context.close()
            slots.release()

    def _find(self, interface: str, function: str) -> tuple[Export, FuncType]:
        found = self._exports.get((interface, function))
        if found is None:
            found = self._exports[interface, function] = self._look_up(interface, function)
        return found

    def _look_up(self, interface: str, function: str) -> tuple[Export, FuncType]:
        wanted = InterfaceName.parse(interface) if interface else None
        for name, offered in self.component.exports.items():
            if name == interface or (wanted and name and InterfaceName.parse(name).answers(wanted)):
                type = offered.functions.get(function)
                if type is None:
                    raise self._missing(f"{name} has no function {function!r}", offered.functions)
                if wanted and wanted.unversioned == INCOMING_HANDLER:
                    type = HANDLE_TYPE
                elif function.startswith(("[constructor]", "[method]", "[static]")):
                    raise RequestInvalid(
                        f"Component {self.spec.id!r} exports the resource function {function!r}; "
                        "resources of components cannot be called over a link.",
                        remedy="Export plain functions, or offer the resource from a provider.",
                    )
                return self._linked.export(name, function), type
        raise self._missing(f"it does not export {interface or 'functions at its root'}", self.component.exports)

    def _missing(self, what: str, there_is: Mapping[str, object]) -> NotFound:
        names = ", ".join(sorted(name or "functions at its root" for name in there_is)) or "nothing"
        return NotFound(
            f"Component {self.spec.id!r} cannot answer this call: {what}.",
            remedy=f"There is: {names}.",
            component=self.spec.id,
        )
