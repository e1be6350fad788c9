"""What a component's decision means for its exchange, without running one."""

from __future__ import annotations

import asyncio

import pytest

from tests.wasi.world import World
from trellis_host.wasi.http.exchange import Exchange, ResponseOutparam
from trellis_lattice.streams import Fields
from trellis_lattice.wit.values import Case, Err, Ok


def _exchange(world: World, method: str = "GET") -> tuple[Exchange, ResponseOutparam]:
    exchange = world.context.exchange = Exchange(method)
    return exchange, ResponseOutparam(exchange)


def _response(world: World, headers: Fields, status: int = 200) -> object:
    response = world.http("[constructor]outgoing-response", world.http("[static]fields.from-list", headers).value)
    assert world.http("[method]outgoing-response.set-status-code", response, status) == Ok(None)
    return response


async def test_whoever_waits_is_told_of_the_answer() -> None:
    world = World()
    exchange, outparam = _exchange(world)
    waiting = asyncio.ensure_future(exchange.decided())
    await asyncio.sleep(0)
    world.http("[static]response-outparam.set", outparam, Ok(_response(world, [("a", b"b")], 404)))
    await waiting
    assert exchange.response is not None
    assert (exchange.response.status, exchange.response.headers) == (404, [("a", b"b")])
    assert await exchange.response.body.read(10) == b""


async def test_whoever_waits_is_told_of_the_end() -> None:
    exchange, _ = _exchange(World())
    waiting = asyncio.ensure_future(exchange.decided())
    await asyncio.sleep(0)
    exchange.finish(None)
    await waiting
    assert exchange.response is None


@pytest.mark.parametrize(
    ("method", "status", "length", "good"),
    [
        ("GET", 200, b"0", True),
        ("GET", 200, b"5", False),
        ("HEAD", 200, b"5", True),
        ("GET", 304, b"5", True),
    ],
)
@pytest.mark.parametrize("asked_for_a_body", [True, False])
def test_a_length_without_a_body(method: str, status: int, length: bytes, good: bool, asked_for_a_body: bool) -> None:
    world = World()
    exchange, outparam = _exchange(world, method)
    response = _response(world, [("content-length", length)], status)
    if asked_for_a_body:
        body = world.http("[method]outgoing-response.body", response).value
        ended = world.http("[static]outgoing-body.finish", body, None)
        assert ended == (Ok(None) if good else Err(Case("HTTP-response-body-size", 0)))
    else:
        world.http("[static]response-outparam.set", outparam, Ok(response))
        assert (exchange.code is None) is good
        assert (exchange.response is not None) is good


@pytest.mark.parametrize(("status", "good"), [(100, True), (103, True), (101, False), (200, False)])
def test_informational_responses_are_handed_on(status: int, good: bool) -> None:
    world, heard = World(), []
    exchange, outparam = _exchange(world)
    exchange.informational = lambda status, headers: heard.append((status, headers))
    headers = world.http("[static]fields.from-list", [("link", b"</a>")]).value
    answer = world.http("[method]response-outparam.send-informational", outparam, status, headers)
    assert isinstance(answer, Ok) is good
    assert heard == ([(status, [("link", b"</a>")])] if good else [])


def test_nobody_needs_to_hear_of_informational_responses() -> None:
    world = World()
    _, outparam = _exchange(world)
    headers = world.http("[constructor]fields")
    assert world.http("[method]response-outparam.send-informational", outparam, 100, headers) == Ok(None)
