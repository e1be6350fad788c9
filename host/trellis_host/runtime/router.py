"""Which way a call goes: to a service in this process, or over the lattice.

The laws of this file: local first; a local target without a free slot is asked over the lattice, where a less
busy host may answer; the same deadline, errors and spans hold both ways. The way a call went is in its span
(`trellis.route`) and counted per link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from trellis_lattice.follow.calls import CallWatch
from trellis_lattice.invocation.api import Call, Service
from trellis_lattice.tracing import SpanKind, Tracing
from trellis_lattice.wit.types import InterfaceType

__all__ = ["LocalService", "RemoteInvoker", "Router"]

MAX_ROUTES = 4096
"""Routes that are counted; beyond it the least used are forgotten."""


class LocalService(Service, Protocol):
    """A service in this process that can say what it answers, and whether it would start a call at once."""

    @property
    def interfaces(self) -> Mapping[str, InterfaceType]:
        """Full interface name → type."""

    @property
    def has_capacity(self) -> bool: ...


class RemoteInvoker(Protocol):
    """Makes calls over the lattice."""

    def begin(self, call: Call) -> Awaitable[Any]:
        """The result, to be awaited once; raises a `TrellisError`, at once or then."""


class Router:
    """The `Invoker` of everything on this host."""

    def __init__(self, remote: RemoteInvoker, tracing: Tracing, calls: CallWatch | None = None) -> None:
        self._remote = remote
        self._calls = calls
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
        if len(self.routes) > MAX_ROUTES:
            self.routes = Counter(dict(self.routes.most_common(MAX_ROUTES // 2)))

    def counts(self, most: int) -> list[tuple[str, str, int, int]]:
        """(source, target, calls in this process, calls over the lattice) of the busiest pairs, at most so many."""
        pairs: Counter[tuple[str, str]] = Counter()
        for (source, target, _), times in self.routes.items():
            pairs[source, target] += times
        return [
            (source, target, self.routes[source, target, "local"], self.routes[source, target, "lattice"])
            for (source, target), _ in pairs.most_common(most)
        ]

    def invoke(self, call: Call) -> Awaitable[Any]:
        """The result, to be awaited once. A call over the lattice may already be sent when this returns."""
        service = self._services.get(call.target)
        if service is None or call.instance is not None or not service.has_capacity:
            self.routes[call.source, call.target, "lattice"] += 1
            if self._calls is not None and (watched := self._calls.watched(call, "lattice")) is not None:
                return self._calls.unanswered(watched, self._remote.begin(call))
            return self._remote.begin(call)
        self.routes[call.source, call.target, "local"] += 1
        if self._calls is not None and (watched := self._calls.watched(call, "local")) is not None:
            return self._calls.serve(watched, self._serve(service, call))
        if self._tracing.unrecorded():
            return service.serve(call)
        return self._serve(service, call)

    async def _serve(self, service: LocalService, call: Call) -> Any:
        call.attributes["trellis.route"] = "local"
        with self._tracing.invocation_span(call, SpanKind.INTERNAL):
            return await service.serve(call)
