"""Which component answers at which address, and how an address is given up."""

from __future__ import annotations

import asyncio
import socket

import pytest

from trellis_lattice.errors import (
    ConfigError,
    Conflict,
)
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_provider_sdk.listeners import BoundListeners

from .conftest import RawClient, Server, answering, hello, refuses, text

# Routes


async def test_no_route_is_404_with_a_reason(server: Server) -> None:
    runner = await server.provider(routing_mode="path")
    await runner.link_put(server.link("a", path="/a"))
    client = await server.connect()
    answer = await client.request("GET", "/other")
    assert (answer.status, answer.body) == (404, b"404 Not Found: No component is linked to /other here.\n")


async def test_routes_of_two_applications_share_an_address(server: Server) -> None:
    for id, path in (("one", "/one"), ("two", "/two/*")):
        runner = await server.provider(f"{id}-http", routing_mode="path")
        server.components.by_id[id] = answering(id)
        await runner.link_put(server.link(id, f"{id}-http", path=path))
    client = await server.connect()
    assert (await client.request("GET", "/one?x=1")).body == b"one"
    assert (await client.request("GET", "/two/deep/er")).body == b"two"
    assert (await client.request("GET", "/two")).body == b"two"
    assert (await client.request("GET", "/one/deeper")).status == 404
    await server.runners["one-http"].stop()
    assert (await client.request("GET", "/one")).status == 404
    assert (await client.request("GET", "/two/")).body == b"two"


async def test_routes_by_host_name(server: Server) -> None:
    runner = await server.provider(routing_mode="host")
    for id in ("a.example", "b.example"):
        server.components.by_id[id] = answering(id)
        await runner.link_put(server.link(id, name=id[0], host=id.upper()))
    client = await server.connect()
    assert (await client.request(headers={"host": "A.example:8000"})).body == b"a.example"
    assert (await client.request(headers={"host": "b.example"})).body == b"b.example"
    assert (await client.request(headers={"host": "c.example"})).status == 404


async def test_two_links_for_one_route_conflict_and_name_both(server: Server) -> None:
    first, second = await server.provider("one-http"), await server.provider("two-http")
    server.components.by_id["one"] = hello
    await first.link_put(server.link("one", "one-http"))
    with pytest.raises(Conflict) as refused:
        await second.link_put(server.link("two", "two-http"))
    assert "one (provider one-http)" in refused.value.message
    assert "two (provider two-http)" in refused.value.message
    assert (await (await server.connect()).request()).status == 200


async def test_a_link_moves_to_another_component_and_address(server: Server) -> None:
    runner = await server.provider()
    server.components.by_id |= {"a": answering("a"), "b": answering("b")}
    await runner.link_put(server.link("a"))
    client = await server.connect()
    assert (await client.request()).body == b"a"
    await runner.link_delete(server.link("a").key)
    await runner.link_put(server.link("b"))
    assert (await (await server.connect()).request()).body == b"b"


async def test_a_port_in_use_is_a_conflict_that_names_it(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runner = await server.provider()
        with pytest.raises(Conflict, match=f"127.0.0.1:{port} is already in use"):
            await runner.link_put(server.link("a", address=f"127.0.0.1:{port}"))
    await runner.link_put(server.link("a", address=f"127.0.0.1:{port}"))
    assert server.port(port) == port


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"address": "8000"}, "8000"),
        ({"address": "127.0.0.1:99999"}, "99999"),
        ({"timeout_ms": "soon"}, "timeout_ms"),
        ({"readonly_mode": "maybe"}, "readonly_mode"),
        ({"path": "a"}, "path"),
        ({"config_json": "{"}, "config_json"),
        ({"config_b64": "%"}, "config_b64"),
        ({"tls_cert_file": "/x"}, "tls_cert_file"),
        ({"address": "203.0.113.7:80"}, "203.0.113.7"),
    ],
)
async def test_wrong_configuration_is_named(server: Server, config: dict[str, str], place: str) -> None:
    runner = await server.provider()
    with pytest.raises(ConfigError) as refused:
        await runner.link_put(server.link("a", **config))
    assert place in str(refused.value)
    assert not server.ingress.addresses


async def test_configuration_may_come_as_json(server: Server) -> None:
    await server.serve(hello, config_json='{"readonly_mode": true, "CACHE_CONTROL": "no-store"}')
    client = await server.connect()
    assert (await client.request()).header("cache-control") == b"no-store"
    refused = await client.request("POST", body=b"x")
    assert (refused.status, refused.header("allow")) == (405, b"GET, HEAD")


# Draining


async def test_draining_says_close_and_resets_nobody(server: Server) -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def component(request: HttpRequest) -> HttpResponse:
        if request.path_with_query == "/slow":
            started.set()
            await gate.wait()
        return text()

    await server.serve(component)
    idle, busy = await server.connect(), await server.connect()
    await idle.request()
    answer = asyncio.create_task(busy.request("GET", "/slow"))
    await asyncio.wait_for(started.wait(), 10)
    port = server.port()
    stopping = asyncio.create_task(server.runners["app-http"].stop(grace=10))
    while not await refuses(port):
        await asyncio.sleep(0)
    late = await idle.request()
    assert (late.status, late.header("connection")) == (200, b"close")
    assert await idle.at_end()
    gate.set()
    slow = await answer
    assert (slow.status, slow.header("connection")) == (200, b"close")
    await asyncio.wait_for(stopping, 10)


async def test_stopping_without_grace_ends_everything(server: Server) -> None:
    started = asyncio.Event()

    async def component(request: HttpRequest) -> HttpResponse:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    await server.serve(component)
    idle, busy = await server.connect(), await server.connect()
    await busy.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(started.wait(), 10)
    ingress, port = server.ingress, server.port()
    stopping = asyncio.create_task(server.runners["app-http"].stop())
    assert await idle.at_end()
    await asyncio.wait_for(stopping, 10)
    assert await refuses(port)
    assert not ingress.addresses


async def test_a_handed_over_socket_stays_open_for_others(server: Server) -> None:
    shared = await BoundListeners().open("127.0.0.1", 0)

    class HandedOver:
        async def open(self, host: str, port: int) -> socket.socket:
            return shared.dup()

        async def release(self, listener: socket.socket) -> None:
            listener.close()

        def shared_as(self, listener: socket.socket) -> str | None:
            return None

    first, second = Server(), Server()
    for each, name in ((first, b"first"), (second, b"second")):
        runner = await each.provider()
        each.ingress._listeners = HandedOver()
        each.components.by_id["a"] = answering(name.decode())
        await runner.link_put(each.link("a"))
    await first.aclose()
    port = shared.getsockname()[1]
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    assert (await client.request()).body == b"second"
    await client.aclose()
    await second.aclose()
    shared.close()


async def test_an_address_whose_providers_have_drained_is_opened_anew(server: Server) -> None:
    first, second = await server.provider("one-http"), await server.provider("two-http")
    server.components.by_id |= {"one": answering("one"), "two": answering("two")}
    await first.link_put(server.link("one", "one-http"))
    await first.provider.drain(0.0)
    await second.link_put(server.link("two", "two-http"))
    assert (await (await server.connect()).request()).body == b"two"
    await first.stop()
    assert (await (await server.connect()).request()).body == b"two"
