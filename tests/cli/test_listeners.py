"""The listener broker and its client, over a real Unix socket and real ports."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path

import pytest

from trellis_cli.up.listeners import ListenerBroker, ListenerClient
from trellis_lattice.errors import ConfigError, Conflict, Unavailable


async def until_released(broker: ListenerBroker) -> None:
    async with asyncio.timeout(10):
        while broker.addresses:
            await asyncio.sleep(0)


async def answered_by(listener: socket.socket) -> None:
    """Accepts one connection."""
    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    connection.close()


def can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def test_two_hosts_accept_from_one_socket_and_the_last_one_frees_the_port() -> None:
    async with ListenerBroker() as broker:
        first, second = ListenerClient(broker.path), ListenerClient(broker.path)
        one = await first.open("127.0.0.1", 0)
        port = one.getsockname()[1]
        two = await second.open("127.0.0.1", port)
        assert two.getsockname() == one.getsockname()
        assert first.shared_as(one) == second.shared_as(two)
        assert not one.getblocking()
        await first.release(one)
        accepting = asyncio.create_task(answered_by(two))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.wait_for(accepting, 10)
        writer.close()
        await writer.wait_closed()
        assert broker.addresses == [("127.0.0.1", port)]
        await second.release(two)
        await second.release(two)
        await until_released(broker)
        assert can_bind(port)


async def test_port_zero_is_never_shared() -> None:
    async with ListenerBroker() as broker:
        client = ListenerClient(broker.path)
        one, two = await client.open("127.0.0.1", 0), await client.open("127.0.0.1", 0)
        assert one.getsockname() != two.getsockname()
        assert client.shared_as(one) != client.shared_as(two)
        for listener in (one, two):
            await client.release(listener)


async def died_with_a_listener(broker: ListenerBroker) -> int:
    """What is left of a host that died: its descriptors are closed. Returns the port it had."""
    client = ListenerClient(broker.path)
    listener = await client.open("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    listener.close()
    for connection in (held.connection for held in client._held.values()):
        connection.close()
    return port


async def test_a_host_that_dies_lets_go() -> None:
    async with ListenerBroker(linger=0.0) as broker:
        await died_with_a_listener(broker)
        await until_released(broker)


async def test_clients_wait_when_the_last_host_died() -> None:
    async with ListenerBroker(linger=600.0) as broker:
        port = await died_with_a_listener(broker)
        assert broker.addresses == [("127.0.0.1", port)]
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        client = ListenerClient(broker.path)
        listener = await client.open("127.0.0.1", port)
        await asyncio.wait_for(answered_by(listener), 10)
        writer.close()
        await writer.wait_closed()
        await client.release(listener)
        await until_released(broker)


async def test_a_port_in_use_is_a_conflict_that_names_it() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with ListenerBroker() as broker:
            client = ListenerClient(broker.path)
            with pytest.raises(Conflict, match=f"127.0.0.1:{port}") as caught:
                await client.open("127.0.0.1", port)
            assert caught.value.remedy
            with pytest.raises(ConfigError):
                await client.open("192.0.2.1", 80)
            assert broker.addresses == []


async def test_without_a_supervisor_it_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await ListenerClient(tmp_path / "nobody.sock").open("127.0.0.1", 0)


async def test_the_end_of_the_broker_closes_everything() -> None:
    async with ListenerBroker() as broker:
        client = ListenerClient(broker.path)
        listener = await client.open("127.0.0.1", 0)
        port, path = listener.getsockname()[1], broker.path
    assert not path.exists()
    await client.release(listener)
    assert can_bind(port)


async def test_nonsense_on_the_socket_harms_nobody() -> None:
    async with ListenerBroker() as broker:
        for nonsense in (
            b"\n",
            b"[]\n",
            b'{"host": "127.0.0.1"}\n',
            b"x" * 70_000 + b"\n",
            b'{"host":"x","port":"y"}\n',
        ):
            reader, writer = await asyncio.open_unix_connection(str(broker.path))
            writer.write(nonsense)
            assert b"address" not in await reader.read()
            writer.close()
        client = ListenerClient(broker.path)
        await client.release(await client.open("127.0.0.1", 0))


async def test_what_a_killed_supervisor_left_is_replaced_by_the_next() -> None:
    home = Path(tempfile.mkdtemp(dir=tempfile.gettempdir()))
    try:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(home / "listeners.sock"))
        async with ListenerBroker(home=home) as broker:
            assert broker.path == home / "listeners.sock"
            assert broker.path.stat().st_mode & 0o077 == 0
            client = ListenerClient(broker.path)
            await client.release(await client.open("127.0.0.1", 0))
        assert list(home.iterdir()) == []
    finally:
        home.rmdir()


async def test_a_folder_with_a_long_name_gets_a_short_one_that_is_always_the_same(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 25)
    async with ListenerBroker(home=home) as broker:
        first = broker.path
    assert not first.parent.exists()
    async with ListenerBroker(home=home) as broker:
        assert broker.path == first
