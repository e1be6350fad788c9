"""The route table alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice.errors import Conflict
from trellis_providers.http_server.config import LinkSettings
from trellis_providers.http_server.routes import Route, RouteTable


def route(name: str, host: str | None = None, path: str | None = None) -> Route:
    return Route(("http", name, "wasi", "http", "default"), name, "default", LinkSettings(("h", 1), host, path))


def found(table: RouteTable, path: str, host: str = "x") -> str | None:
    match = table.find([(b"accept", b"*/*"), (b"host", host.encode())], path)
    return match.component if match is not None else None


def test_the_most_specific_route_wins() -> None:
    table = RouteTable.of(
        [
            route("any"),
            route("api", path="/api/*"),
            route("v2", path="/api/v2/*"),
            route("exact", path="/api/v2/now"),
            route("host", host="a.example"),
            route("host-api", host="a.example", path="/api/*"),
        ]
    )
    assert found(table, "/") == "any"
    assert found(table, "/apis") == "any"
    assert found(table, "/api") == "api"
    assert found(table, "/api/v1") == "api"
    assert found(table, "/api/v2/x") == "v2"
    assert found(table, "/api/v2/now") == "exact"
    assert found(table, "/", "A.Example:80") == "host"
    assert found(table, "/api/v2/now", "a.example") == "host-api"


def test_a_host_without_a_fitting_path_falls_back_to_any_host() -> None:
    table = RouteTable.of([route("any"), route("a", host="a.example", path="/only")])
    assert found(table, "/else", "a.example") == "any"


def test_routing_on_another_header() -> None:
    tenant = Route(
        ("p", "c", "wasi", "http", "default"), "c", "default", LinkSettings(("h", 1), "acme", None), "x-tenant"
    )
    table = RouteTable.of([tenant])
    assert table.find([(b"x-tenant", b"ACME")], "/") is tenant
    assert table.find([(b"host", b"acme")], "/") is None


patterns = st.tuples(st.sampled_from([None, "a", "b"]), st.sampled_from([None, "/x", "/x/*", "/"]))


@given(st.lists(patterns, unique=True, max_size=8), patterns)
def test_a_pattern_is_taken_once_and_free_again_afterwards(
    taken: list[tuple[str | None, str | None]], extra: tuple[str | None, str | None]
) -> None:
    table = RouteTable()
    for number, (host, path) in enumerate(taken):
        table = table.put(route(f"c{number}", host, path))
    new = route("new", *extra)
    if extra in taken:
        with pytest.raises(Conflict, match="new"):
            table.put(new)
        table = table.without(route(f"c{taken.index(extra)}").key)
    assert new in table.put(new).routes
    assert len(table.put(new).put(new).routes) == len(table.routes) + 1
