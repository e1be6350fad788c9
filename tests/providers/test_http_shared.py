"""Two http-servers' hosts at one socket, without hosts around them: how routes are agreed on over the lattice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.errors import Conflict
from trellis_lattice.http import HttpRequest
from trellis_lattice.tracing import Tracing
from trellis_provider_sdk import BoundListeners
from trellis_providers.http_server import Ingress
from trellis_providers.http_server.claims import LINGER, STALE
from trellis_providers.http_server.config import LinkSettings
from trellis_providers.http_server.routes import LinkKey, Route

ADDRESS = ("127.0.0.1", 8000)


class Copies:
    """The same socket for everybody."""

    def __init__(self, listening: socket.socket, name: str) -> None:
        self.listening = listening
        self.name = name

    async def open(self, host: str, port: int) -> socket.socket:
        return self.listening.dup()

    async def release(self, listener: socket.socket) -> None:
        listener.close()

    def shared_as(self, listener: socket.socket) -> str | None:
        return self.name


class Side:
    """One host's ingress, with one provider."""

    def __init__(self, provider: str, copies: Copies, connection: Connection) -> None:
        self.provider = provider
        self.connection = connection
        self.lost: list[tuple[LinkKey, Conflict]] = []
        self.ingress = Ingress(copies, Tracing(), lattice=copies.name, connection=lambda: connection)
        self.ingress.attach(provider, self._handle, lambda key, reason: self.lost.append((key, reason)))

    async def _handle(self, route: Route, request: HttpRequest, deadline: float) -> object:
        raise AssertionError("nobody asks")

    def route(self, component: str, path: str | None = None) -> Route:
        key = (self.provider, component, "wasi", "http", "default")
        return Route(key, component, "default", LinkSettings(ADDRESS, None, path))

    @property
    def serving(self) -> dict[str | None, str]:
        """Path → component; empty where nothing is open."""
        if ADDRESS not in self.ingress.addresses:
            return {}
        return {route.settings.path: route.component for route in self.ingress.routes(ADDRESS)}


@pytest.fixture
async def sides(nats_server: str, lattice: str) -> AsyncIterator[tuple[Side, Side]]:
    settings = ConnectionSettings(urls=(nats_server,))
    with await BoundListeners().open("127.0.0.1", 0) as listening:
        copies = Copies(listening, lattice)
        sides = [Side(name, copies, await Connection.connect(settings, timeout=5)) for name in ("left", "right")]
        yield sides[0], sides[1]
        for side in sides:
            await side.ingress.detach(side.provider)
            await side.connection.aclose()


async def true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(STALE + LINGER + 10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_loser_of_a_race_gives_way_and_says_so(sides: tuple[Side, Side]) -> None:
    left, right = sides
    puts = (left.ingress.put(left.route("a")), right.ingress.put(right.route("b")))
    refused = await asyncio.gather(*puts, return_exceptions=True)
    if any(refused):  # one was quicker than the other's start: then there was no race, and the second is told at once
        loser, reason = next((side, error) for side, error in zip(sides, refused, strict=True) if error is not None)
        assert isinstance(reason, Conflict)
    else:
        await true(lambda: len(left.lost) + len(right.lost) == 1)
        loser = right if right.lost else left
        [(key, reason)] = loser.lost
        assert key[0] == loser.provider
    await true(lambda: not loser.serving)
    winner = left if loser is right else right
    assert list(winner.serving.values()) == ["a" if winner is left else "b"]
    assert "a (provider left)" in reason.message
    assert "b (provider right)" in reason.message


async def test_a_later_link_is_refused_and_opens_nothing(sides: tuple[Side, Side]) -> None:
    left, right = sides
    await left.ingress.put(left.route("a", "/x"))
    with pytest.raises(Conflict):
        await right.ingress.put(right.route("b", "/x"))
    assert not right.serving
    await right.ingress.put(right.route("b", "/y"))
    with pytest.raises(Conflict):
        await right.ingress.put(right.route("c", "/x"))
    assert right.serving == {"/x": "a", "/y": "b"}
    assert not left.lost


async def test_a_route_that_is_withdrawn_is_gone_at_once_everywhere(sides: tuple[Side, Side]) -> None:
    left, right = sides
    for path in ("/x", "/z"):
        await left.ingress.put(left.route(path, path))
    await right.ingress.put(right.route("b", "/y"))
    await left.ingress.remove(left.route("/x").key)
    await true(lambda: right.serving == {"/y": "b", "/z": "/z"})
    await left.ingress.remove(left.route("/z").key)
    await true(lambda: right.serving == {"/y": "b"})


async def test_a_route_that_moves_is_believed(sides: tuple[Side, Side]) -> None:
    left, right = sides
    await left.ingress.put(left.route("a", "/x"))
    await right.ingress.put(right.route("b", "/y"))
    await left.ingress.put(left.route("a", "/moved"))
    await true(lambda: right.serving == {"/y": "b", "/moved": "a"})


async def test_the_routes_of_a_host_that_dies_last_only_for_a_moment(sides: tuple[Side, Side]) -> None:
    left, right = sides
    await left.ingress.put(left.route("a", "/x"))
    await right.ingress.put(right.route("b", "/y"))
    await left.connection.aclose()
    assert right.serving == {"/x": "a", "/y": "b"}
    await true(lambda: right.serving == {"/y": "b"})
    await right.ingress.put(right.route("c", "/x"))
