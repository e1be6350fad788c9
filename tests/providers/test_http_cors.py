"""Requests of browsers from other origins."""

from __future__ import annotations

import pytest

from trellis_lattice.errors import ConfigError
from trellis_lattice.http import HttpRequest, HttpResponse

from .conftest import Server, hello, text

ORIGIN = {"origin": "https://app.example"}
PREFLIGHT = {**ORIGIN, "access-control-request-method": "PUT", "access-control-request-headers": "x-a, authorization"}


async def test_without_cors_nothing_is_said(server: Server) -> None:
    await server.serve(hello)
    client = await server.connect()
    answer = await client.request("OPTIONS", headers=PREFLIGHT)
    assert answer.status == 200, "the component answers for itself"
    assert answer.header("access-control-allow-origin") is None


async def test_a_preflight_is_answered_without_the_component(server: Server) -> None:
    await server.serve(
        hello,
        cors_allowed_origins='["https://app.example", "https://other.example"]',
        cors_allowed_methods='["get", "put"]',
        cors_allowed_headers='["X-A"]',
        cors_max_age_secs="600",
    )
    client = await server.connect()
    answer = await client.request("OPTIONS", headers=PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("access-control-allow-origin") == b"https://app.example"
    assert answer.header("access-control-allow-methods") == b"GET, PUT"
    assert answer.header("access-control-allow-headers") == b"x-a"
    assert answer.header("access-control-max-age") == b"600"
    assert answer.header("vary") == b"origin"
    assert not server.components.calls
    assert (await client.request("OPTIONS")).status == 200, "without an origin it is an ordinary request"


async def test_any_origin_method_and_header_if_only_one_key_is_given(server: Server) -> None:
    await server.serve(hello, cors_exposed_headers='["X-Total", "x-page"]')
    client = await server.connect()
    answer = await client.request("OPTIONS", headers=PREFLIGHT)
    assert answer.header("access-control-allow-origin") == b"*"
    assert answer.header("access-control-allow-methods") == b"PUT"
    assert answer.header("access-control-allow-headers") == b"x-a, authorization"
    answer = await client.request(headers=ORIGIN)
    assert (answer.body, answer.header("access-control-expose-headers")) == (b"hello", b"x-total, x-page")


async def test_another_origin_learns_nothing(server: Server) -> None:
    await server.serve(hello, cors_allowed_origins='["https://app.example"]')
    client = await server.connect()
    for method in ("GET", "OPTIONS"):
        answer = await client.request(method, headers={**PREFLIGHT, "origin": "https://evil.example"})
        assert answer.header("access-control-allow-origin") is None
        assert answer.header("access-control-allow-methods") is None
        assert answer.header("vary") == b"origin"


async def test_errors_may_be_read_too(server: Server) -> None:
    runner = await server.provider()
    await runner.link_put(server.link("nobody", cors_allowed_origins='["https://app.example"]'))
    answer = await (await server.connect()).request(headers=ORIGIN)
    assert (answer.status, answer.header("access-control-allow-origin")) == (503, b"https://app.example")


async def test_what_the_component_says_stands(server: Server) -> None:
    async def component(request: HttpRequest) -> HttpResponse:
        return text(access_control_allow_origin="https://only.example", vary="accept")

    await server.serve(component, cors_allowed_origins='["https://app.example"]')
    answer = await (await server.connect()).request(headers=ORIGIN)
    assert answer.header("access-control-allow-origin") == b"https://only.example"
    assert [value for name, value in answer.headers if name == "vary"] == [b"accept", b"origin"]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"cors_allowed_origins": "https://app.example"}, "JSON array"),
        ({"cors_allowed_methods": '["GET, PUT"]'}, "JSON array"),
        ({"cors_allowed_headers": '["a\\r\\nb"]'}, "JSON array"),
        ({"cors_max_age_secs": "a day"}, "cors_max_age_secs"),
        ({"cors_allow_origin": "[]"}, "cors_allowed_origins"),
    ],
)
async def test_wrong_configuration_is_named(server: Server, config: dict[str, str], place: str) -> None:
    runner = await server.provider()
    with pytest.raises(ConfigError, match=place):
        await runner.link_put(server.link("a", **config))
