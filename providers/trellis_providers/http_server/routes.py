"""Which component answers which request at one address. Pure.

The laws of this file: a table never changes, a new one takes its place; the most specific route wins: host
before path, an exact path before a prefix (`/api/*`), a longer prefix before a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trellis_lattice.errors import Conflict

from .config import LinkSettings

__all__ = ["LinkKey", "Route", "RouteTable", "conflict"]

LinkKey = tuple[str, str, str, str, str]
"""Source, target, namespace, package, link name."""


@dataclass(frozen=True, slots=True)
class Route:
    """One link: requests that fit `settings` go to `component`. `header`: the one that `settings.host` is about."""

    key: LinkKey
    component: str
    link_name: str
    settings: LinkSettings
    header: str = "host"

    @property
    def provider(self) -> str:
        return self.key[0]

    @property
    def pattern(self) -> tuple[str, str | None, str | None]:
        """What two routes of one address must not share."""
        host = self.settings.host
        return (self.header if host is not None else "host", host, self.settings.path)

    def __str__(self) -> str:
        link = f", link {self.link_name!r}" if self.link_name != "default" else ""
        return f"{self.component} (provider {self.provider}{link})"


@dataclass(frozen=True, slots=True)
class _Paths:
    """The routes of one host name, or of any."""

    exact: Mapping[str, Route]
    prefixes: tuple[tuple[str, Route], ...]
    rest: Route | None

    def find(self, path: str) -> Route | None:
        found = self.exact.get(path)
        if found is not None:
            return found
        for prefix, route in self.prefixes:
            if path.startswith(prefix) or path == prefix[:-1]:
                return route
        return self.rest


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes of one address."""

    routes: tuple[Route, ...] = ()
    _any: Route | None = field(default=None)
    """The route of all requests, if there is no other."""
    _hosts: Mapping[tuple[str, str | None], _Paths] = field(default_factory=dict)
    _headers: tuple[str, ...] = ()

    @classmethod
    def of(cls, routes: Iterable[Route]) -> RouteTable:
        routes = tuple(routes)
        groups: dict[tuple[str, str | None], list[Route]] = {}
        for route in routes:
            header, host, _ = route.pattern
            groups.setdefault((header, host), []).append(route)
        headers = tuple(dict.fromkeys(header for header, host in groups if host is not None))
        only = routes[0] if len(routes) == 1 and routes[0].pattern[1:] == (None, None) else None
        return cls(routes, only, {key: _paths(group) for key, group in groups.items()}, headers)

    def put(self, route: Route) -> RouteTable:
        """With the route, which replaces the one of the same link. Raises `Conflict` naming both links."""
        others = [other for other in self.routes if other.key != route.key]
        for other in others:
            if other.pattern == route.pattern:
                raise conflict(route, other)
        return RouteTable.of((*others, route))

    def without(self, key: LinkKey) -> RouteTable:
        return RouteTable.of(route for route in self.routes if route.key != key)

    def find(self, headers: Iterable[tuple[bytes, bytes]], path: str) -> Route | None:
        """The route of a request, by its headers (names in lower case) and its path."""
        if self._any is not None:
            return self._any
        for name in self._headers:
            value = _header(headers, name)
            group = self._hosts.get((name, value)) if value is not None else None
            found = group.find(path) if group is not None else None
            if found is not None:
                return found
        anywhere = self._hosts.get(("host", None))
        return anywhere.find(path) if anywhere is not None else None


def conflict(refused: Route, existing: Route) -> Conflict:
    """The error for a link that wants the requests that another one gets; names both."""
    return Conflict(
        f"{_described(refused)} goes to {existing} already, and cannot go to {refused} too.",
        remedy="Give one of the links another address, path or host.",
        existing=existing.component,
        refused=refused.component,
    )


def _paths(routes: Iterable[Route]) -> _Paths:
    exact: dict[str, Route] = {}
    prefixes: list[tuple[str, Route]] = []
    rest: Route | None = None
    for route in routes:
        path = route.settings.path
        if path is None:
            rest = route
        elif path.endswith("/*"):
            prefixes.append((path[:-1], route))
        else:
            exact[path] = route
    prefixes.sort(key=lambda item: len(item[0]), reverse=True)
    return _Paths(exact, tuple(prefixes), rest)


def _header(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    wanted = name.encode("latin-1")
    for key, value in headers:
        if key == wanted:
            text = value.decode("latin-1").strip().lower()
            return _without_port(text) if name == "host" else text
    return None


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _described(route: Route) -> str:
    host, port = route.settings.address
    parts = [f"host {route.settings.host}"] if route.settings.host else []
    parts += [f"path {route.settings.path}"] if route.settings.path else []
    return " ".join([f"{host}:{port}", *parts])
