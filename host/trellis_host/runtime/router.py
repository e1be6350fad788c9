"""Which way a call goes: to a service in this process, or over the lattice.

The laws of this file: local first; a local target without a free slot is asked over the lattice, where a less
busy host may answer; the same deadline, errors and spans hold both ways. The way a call went is in its span
(`trellis.route`) and counted per link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from trellis_lattice.invocation.api import Call, Invoker, Service
from trellis_lattice.tracing import SpanKind, Tracing
from trellis_lattice.wit.types import InterfaceType

__all__ = ["LocalService", "Router"]


class LocalService(Service, Protocol):
    """A service in this process that can say what it answers, and whether it would start a call at once."""

    @property
    def interfaces(self) -> Mapping[str, InterfaceType]:
        """Full interface name → type."""

    @property
    def has_capacity(self) -> bool: ...


class Router:
    """The `Invoker` of everything on this host."""

    def __init__(self, remote: Invoker, tracing: Tracing) -> None:
        self._remote = remote
        self._tracing = tracing
        self._services: dict[str, LocalService] = {}
        self.routes: Counter[tuple[str, str, str]] = Counter()
        """Calls by (source, target, `local` or `lattice`)."""

    def add(self, target: str, service: LocalService) -> None:
        self._services[target] = service

    def remove(self, target: str, service: LocalService) -> None:
        """Forgets the target, if it is still this service."""
        if self._services.get(target) is service:
            del self._services[target]

    async def invoke(self, call: Call) -> Any:
        service = self._services.get(call.target)
        if service is None or call.instance is not None or not service.has_capacity:
            self.routes[call.source, call.target, "lattice"] += 1
            return await self._remote.invoke(call)
        self.routes[call.source, call.target, "local"] += 1
        call.attributes["trellis.route"] = "local"
        with self._tracing.invocation_span(call, SpanKind.INTERNAL):
            return await service.serve(call)
