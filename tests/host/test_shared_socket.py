"""Hosts that accept from one listening socket: whichever gets a client answers for all of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest_asyncio

from tests.fixtures import components
from tests.host.support import PATIENCE, Operator, image, running_host
from trellis_host.host import Host
from trellis_lattice.control import link
from trellis_lattice.links import LinkId
from trellis_provider_sdk import BoundListeners
from trellis_providers.http_server import Ingress

C, WAT = "Hello from C!\n", "Hello from WAT!\n"


class Turnstile(socket.socket):
    """A listening socket that leaves its clients to others while it is shut."""

    shut = False

    def accept(self) -> tuple[socket.socket, object]:
        if self.shut:
            raise BlockingIOError
        return super().accept()


class OneSocket:
    """Listeners of one host on a socket that others have too, whatever address is asked for."""

    def __init__(self, listening: socket.socket, name: str | None) -> None:
        self.listening = listening
        self.name = name
        self.held: list[Turnstile] = []

    async def open(self, host: str, port: int) -> socket.socket:
        copy = self.listening.dup()
        held = Turnstile(copy.family, copy.type, copy.proto, copy.detach())
        held.setblocking(False)
        self.held.append(held)
        return held

    async def release(self, listener: socket.socket) -> None:
        self.held = [each for each in self.held if each is not listener]
        listener.close()

    def shared_as(self, listener: socket.socket) -> str | None:
        return self.name


class Machine:
    """One socket, and the hosts that share it."""

    def __init__(self, listening: socket.socket, lattice: str, operator: Operator, folder: Path) -> None:
        self.listening = listening
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.listeners: dict[str, OneSocket] = {}
        self._name = lattice
        self.operator = operator
        self.folder = folder

    def for_host(self, name: str, socket_name: str | None = None) -> OneSocket:
        self.listeners[name] = OneSocket(self.listening, socket_name or self._name)
        return self.listeners[name]

    def only(self, name: str) -> None:
        """Lets this host have all new clients."""
        for each, listeners in self.listeners.items():
            for held in listeners.held:
                held.shut = each != name

    def open_to_all(self) -> None:
        for listeners in self.listeners.values():
            for held in listeners.held:
                held.shut = False

    async def get(self, path: str) -> tuple[int, str]:
        """A request on a connection of its own."""
        async with httpx.AsyncClient(verify=False) as client:
            answer = await client.get(self.url + path)
        return answer.status_code, answer.text

    async def serve(self, host: Host, id: str, wasm: bytes, path: str) -> None:
        """A component and an http-server of its own on one host."""
        await self.operator.start_component(host, id, image(self.folder, id, wasm))
        await self.route(f"http-{id}", id, path)
        await self.operator.start_provider(host, f"http-{id}", "http-server")

    async def route(self, server: str, target: str, path: str) -> None:
        config = f"at-{target}-{server}"
        await self.operator.put_config(config, address="127.0.0.1:8000", path=path)
        await self.operator.put_link(server, target, "wasi:http", "incoming-handler", source_config=(config,))

    async def until(self, name: str, path: str, status: int) -> None:
        """Waits until this host answers so."""
        self.only(name)
        async with asyncio.timeout(PATIENCE):
            while (await self.get(path))[0] != status:
                pass


@pytest_asyncio.fixture
async def machine(lattice: str, operator: Operator, tmp_path: Path) -> AsyncIterator[Machine]:
    with await BoundListeners().open("127.0.0.1", 0) as listening:
        yield Machine(listening, lattice, operator, tmp_path)


def ingress(host: Host) -> Ingress:
    found = host.workloads._services.shared[Ingress]
    assert isinstance(found, Ingress)
    return found


async def true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def test_whichever_host_accepts_answers_for_all(
    nats_server: str, lattice: str, machine: Machine, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one", listeners=machine.for_host("one")) as one,
        running_host(nats_server, lattice, tmp_path, name="two", listeners=machine.for_host("two")) as two,
    ):
        await machine.serve(one, "c", components.http_hello_c(), "/c")
        await machine.serve(two, "wat", components.http_hello_wat(), "/wat")
        await machine.until("one", "/wat", 200)
        for host in ("one", "two"):
            machine.only(host)
            assert await machine.get("/c") == (200, C)
            assert await machine.get("/wat") == (200, WAT)
            assert (await machine.get("/else"))[0] == 404


async def test_a_host_that_comes_later_knows_all_routes_before_it_accepts(
    nats_server: str, lattice: str, machine: Machine, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, name="one", listeners=machine.for_host("one")) as one:
        await machine.serve(one, "c", components.http_hello_c(), "/c")
        async with running_host(nats_server, lattice, tmp_path, name="two", listeners=machine.for_host("two")) as two:
            assert not machine.listeners["two"].held, "a host without http-server has nothing to accept"
            await machine.serve(two, "wat", components.http_hello_wat(), "/wat")
            machine.only("two")
            assert await machine.get("/c") == (200, C)


async def test_hosts_of_another_socket_have_routes_of_their_own(
    nats_server: str, lattice: str, machine: Machine, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one", listeners=machine.for_host("one")) as one,
        running_host(nats_server, lattice, tmp_path, name="two", listeners=machine.for_host("two", "other")) as two,
    ):
        await machine.serve(one, "c", components.http_hello_c(), "/c")
        await machine.serve(two, "wat", components.http_hello_wat(), "/c")
        for host, text in (("one", C), ("two", WAT)):
            machine.only(host)
            assert await machine.get("/c") == (200, text)


async def test_two_links_of_one_route_on_two_hosts_conflict_until_the_first_goes(
    nats_server: str, lattice: str, machine: Machine, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one", listeners=machine.for_host("one")) as one,
        running_host(nats_server, lattice, tmp_path, name="two", listeners=machine.for_host("two")) as two,
    ):
        await machine.serve(one, "c", components.http_hello_c(), "/")
        await machine.serve(two, "wat", components.http_hello_wat(), "/")
        [refused] = two.workloads.providers
        [reason] = refused.refused_links.values()
        assert "c (provider http-c)" in reason
        assert "wat (provider http-wat)" in reason
        assert not machine.listeners["two"].held
        assert await machine.get("/") == (200, C)

        gone = LinkId(source_id="http-c", wit_namespace="wasi", wit_package="http")
        (await operator.ask(link.DEL, gone)).unwrap()
        await true(lambda: not refused.refused_links)
        assert await machine.get("/") == (200, WAT)


async def test_links_put_at_once_are_settled_and_the_loser_is_told(
    nats_server: str, lattice: str, machine: Machine, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one", listeners=machine.for_host("one")) as one,
        running_host(nats_server, lattice, tmp_path, name="two", listeners=machine.for_host("two")) as two,
    ):
        hosts = {"c": one, "wat": two}
        for id, host in hosts.items():
            await operator.start_provider(host, f"http-{id}", "http-server")
        await asyncio.gather(*(machine.route(f"http-{id}", id, "/") for id in hosts))

        def refused() -> list[str]:
            return [id for id, host in hosts.items() for each in host.workloads.providers if each.refused_links]

        def open_at() -> list[str]:
            return [id for id, host in hosts.items() if ingress(host).addresses]

        await true(lambda: len(refused()) == len(open_at()) == 1 and {*refused(), *open_at()} == {"c", "wat"})


async def test_an_http_server_with_several_instances_stops_on_one_host_under_load(
    nats_server: str, lattice: str, machine: Machine, operator: Operator, tmp_path: Path
) -> None:
    wasm = image(tmp_path, "c", components.http_hello_c())
    async with running_host(nats_server, lattice, tmp_path, name="one", listeners=machine.for_host("one")) as one:
        async with running_host(nats_server, lattice, tmp_path, name="two", listeners=machine.for_host("two")) as two:
            await machine.route("http", "c", "/c")
            for host in (one, two):
                await operator.start_component(host, "c", wasm)
                await operator.start_provider(host, "http", "http-server")
            await machine.serve(two, "wat", components.http_hello_wat(), "/wat")
            await machine.until("one", "/wat", 200)
            machine.only("two")
            answers: list[tuple[int, str]] = []
            enough = asyncio.Event()

            async def load() -> None:
                while not enough.is_set():
                    answers.append(await machine.get("/c"))

            async with asyncio.TaskGroup() as tasks:
                for _ in range(8):
                    tasks.create_task(load())
                await true(lambda: len(answers) > 20)
                two.request_stop()
                machine.open_to_all()
                await true(lambda: not machine.listeners["two"].held)
                before = len(answers)
                await true(lambda: len(answers) > before + 20)
                enough.set()
            assert set(answers) == {(200, C)}
        # Its other route stays for a moment, for whoever runs that http-server next, and then goes.
        await machine.until("one", "/wat", 404)
        assert await machine.get("/c") == (200, C)
