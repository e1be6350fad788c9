"""Configuration and links change while everything runs: nothing is restarted, and nothing is lost that need not be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.fixtures import components
from tests.host.support import PATIENCE, NotingListeners, Operator, eventually, image, running_host, soon
from tests.host.test_changing import steady_calls
from trellis_host.host import Host
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.control import link
from trellis_lattice.errors import NotFound
from trellis_lattice.links import LinkId
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Provider, ProviderLink, current_call, provides, u64

WAIT = FuncType((("ms", Primitive.U64),), Primitive.U64)


@provides("test:waiter/provider@0.1.0")
class Noting(Provider):
    """Answers with what its link says, and notes every link it gets."""

    async def start(self, ctx: object) -> None:
        self.links: list[ProviderLink] = []
        self.gone = 0

    async def link_put(self, link: ProviderLink) -> None:
        self.links.append(link)

    async def link_delete(self, link: ProviderLink) -> None:
        self.gone += 1

    async def wait(self, ms: u64) -> u64:
        return int(current_call().config.get("answer", "0"))


def noting(one: Host) -> Noting:
    provider = one.workloads.providers[0].runner.provider
    assert isinstance(provider, Noting)
    return provider


async def test_new_values_of_a_links_config_reach_its_provider(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda _: Noting) as one:
        await operator.put_config("mine", answer="1")
        await operator.put_config("other", answer="9")
        await operator.put_link("waiter", "p", "test:waiter", "provider", target_config=("mine",))
        await operator.start_provider(one, "p", "p")
        await operator.start_component(one, "waiter", image(tmp_path, "waiter", components.waiter()))
        provider = noting(one)
        before = await operator.call("waiter", "test:waiter/waiter@0.1.0", "run", WAIT, 0)
        await operator.put_config("other", answer="8")
        await operator.put_config("mine", answer="2")
        await eventually(lambda: len(provider.links) == 2)
        after = await operator.call("waiter", "test:waiter/waiter@0.1.0", "run", WAIT, 0)

        assert (before, after) == (1, 2)
        assert [each.target_config for each in provider.links] == [{"answer": "1"}, {"answer": "2"}]
        assert noting(one) is provider
        assert provider.gone == 0
        gone = LinkId(source_id="waiter", name="default", wit_namespace="test", wit_package="waiter")
        (await operator.ask(link.DEL, gone)).unwrap()
        await eventually(lambda: provider.gone == 1)


async def test_an_http_server_takes_another_path_while_it_runs(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    listeners = NotingListeners()
    async with running_host(nats_server, lattice, tmp_path, listeners=listeners) as one, httpx.AsyncClient() as client:
        await operator.put_config("at", address="127.0.0.1:0", path="/old")
        await operator.put_link("http", "hello", "wasi:http", "incoming-handler", source_config=("at",))
        await operator.start_component(one, "hello", image(tmp_path, "hello", components.http_hello_c()))
        await operator.start_provider(one, "http", "http-server")
        [port] = listeners.ports
        running = one.workloads.providers[0]

        async def status(at: int, path: str) -> int:
            return (await client.get(f"http://127.0.0.1:{at}{path}")).status_code

        assert (await status(port, "/old"), await status(port, "/new")) == (200, 404)
        await operator.put_config("at", address="127.0.0.1:0", path="/new")
        async with asyncio.timeout(PATIENCE):
            while (seen := await status(listeners.ports[-1], "/new")) != 200:
                assert seen == 404
        assert await status(listeners.ports[-1], "/old") == 404
        assert one.workloads.providers == [running]
        assert not running.refused_links


async def test_links_come_and_go_under_load(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    """A component's other links change while it is called through one: no call notices."""
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.put_link("caller", "echo", "test:echo", "echo")
        for id, wasm in (("echo", components.echo()), ("other", components.echo()), ("caller", components.caller())):
            await operator.start_component(one, id, image(tmp_path, id, wasm), 100)
        async with steady_calls(operator, "caller", "test:caller/caller@0.1.0") as outcomes:
            for _ in range(5):
                seen = len(outcomes)
                await operator.put_link("caller", "other", "test:echo", "echo", name="second")
                gone = LinkId(source_id="caller", name="second", wit_namespace="test", wit_package="echo")
                (await operator.ask(link.DEL, gone)).unwrap()
                await eventually(lambda seen=seen: len(outcomes) > seen + 10)
    assert [each for each in outcomes if not isinstance(each, str)] == []


async def test_an_http_server_moves_to_another_address_and_lets_other_origins_in(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    listeners = NotingListeners()
    origin = {"origin": "https://app.example"}
    async with running_host(nats_server, lattice, tmp_path, listeners=listeners) as one, httpx.AsyncClient() as client:
        old, new = unused_ports(2)
        await operator.put_config("at", address=f"127.0.0.1:{old}")
        await operator.put_link("http", "hello", "wasi:http", "incoming-handler", source_config=("at",))
        await operator.start_component(one, "hello", image(tmp_path, "hello", components.http_hello_c()))
        await operator.start_provider(one, "http", "http-server")

        async def allowed(port: int) -> str | None:
            answer = await client.get(f"http://127.0.0.1:{port}/", headers=origin)
            assert answer.status_code == 200
            return answer.headers.get("access-control-allow-origin")

        assert await allowed(old) is None
        await operator.put_config("at", address=f"127.0.0.1:{old}", cors_allowed_origins='["https://app.example"]')
        async with asyncio.timeout(PATIENCE):
            while await allowed(old) != "https://app.example":
                pass
        await operator.put_config("at", address=f"127.0.0.1:{new}")
        await eventually(lambda: new in listeners.ports)
        async with asyncio.timeout(PATIENCE):
            while await refused(client, new):
                pass
            assert await allowed(new) is None
            while not await refused(client, old):
                pass


def unused_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


async def refused(client: httpx.AsyncClient, port: int) -> bool:
    try:
        await client.get(f"http://127.0.0.1:{port}/", headers={"connection": "close"})
    except httpx.ConnectError:
        return True
    return False


async def test_a_store_goes_on_in_another_bucket(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    listeners = NotingListeners()
    async with running_host(nats_server, lattice, tmp_path, listeners=listeners) as one, httpx.AsyncClient() as client:
        await operator.put_config("at", address="127.0.0.1:0")
        await operator.put_config("store", bucket=f"{lattice}-a")
        other = await open_bucket(operator.connection, f"{lattice}-b", deadline=soon())
        await other.put("visits", b"1000", deadline=soon())
        await operator.put_link("http", "counter", "wasi:http", "incoming-handler", source_config=("at",))
        await operator.put_link("counter", "kv", "wasi:keyvalue", "store", "atomics", target_config=("store",))
        await operator.start_provider(one, "kv", "keyvalue-nats")
        await operator.start_component(one, "counter", image(tmp_path, "counter", components.kv_counter_c()))
        await operator.start_provider(one, "http", "http-server")
        [port] = listeners.ports

        async def count() -> int:
            answer = await client.get(f"http://127.0.0.1:{port}/visits")
            assert answer.status_code == 200, answer.text
            return int(answer.text.split(":")[1])

        async def counts_until(enough: Callable[[int], bool]) -> int:
            async with asyncio.timeout(PATIENCE):
                while not enough(now := await count()):
                    pass
                return now

        assert [await count(), await count()] == [1, 2]
        await operator.put_config("store", bucket=f"{lattice}-b")
        assert await counts_until(lambda now: now > 1000) == 1001
        await operator.put_config("store", bucket=f"{lattice}-a")
        assert await counts_until(lambda now: now < 1000) >= 3


async def test_a_link_gets_another_target_under_load(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """Between the end of the one link and the next there is none, and calls say so; none is lost in any other way."""
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.put_link("caller", "echo", "test:echo", "echo")
        for id, wasm in (("echo", components.echo()), ("other", components.echo()), ("caller", components.caller())):
            await operator.start_component(one, id, image(tmp_path, id, wasm), 100)
        async with steady_calls(operator, "caller", "test:caller/caller@0.1.0") as outcomes:
            for target in ("other", "echo", "other"):
                seen = len(outcomes)
                same = LinkId(source_id="caller", name="default", wit_namespace="test", wit_package="echo")
                (await operator.ask(link.DEL, same)).unwrap()
                await operator.put_link("caller", target, "test:echo", "echo")
                await eventually(lambda seen=seen: sum(isinstance(each, str) for each in outcomes[seen:]) > 10)
        counts = {(each.source, each.target) for each in one.inventory(calls=True).calls or ()}
    lost = [each for each in outcomes if not isinstance(each, str)]
    assert [each for each in lost if not isinstance(each, NotFound)] == []
    assert len(lost) < len(outcomes) / 2
    assert {("caller", "echo"), ("caller", "other")} <= counts


async def test_a_link_with_other_interfaces_loses_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """The same link, put again with more interfaces or another config: calls over it go on."""
    async with running_host(nats_server, lattice, tmp_path) as one:
        await operator.put_config("some", key="value")
        await operator.put_link("caller", "echo", "test:echo", "echo")
        for id, wasm in (("echo", components.echo()), ("caller", components.caller())):
            await operator.start_component(one, id, image(tmp_path, id, wasm), 100)
        async with steady_calls(operator, "caller", "test:caller/caller@0.1.0") as outcomes:
            for more in ({}, {"source_config": ("some",)}, {}):
                seen = len(outcomes)
                await operator.put_link("caller", "echo", "test:echo", "echo", "another", **more)
                await operator.put_link("caller", "echo", "test:echo", "echo", **more)
                await eventually(lambda seen=seen: len(outcomes) > seen + 20)
    assert [each for each in outcomes if not isinstance(each, str)] == []
