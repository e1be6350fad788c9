"""The shared connection against a real server: calls, failures, and a server that goes and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from trellis_lattice.bus.connection import Connection, ConnectionSettings, Message
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.errors import ConfigError, DeadlineExceeded, Denied, RequestInvalid, Unavailable


def soon(seconds: float = 5.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def echo(connection: Connection, subject: str, queue: str = "") -> None:
    tasks: set[asyncio.Task[None]] = set()

    def answer(message: Message) -> None:
        task = asyncio.create_task(connection.publish(message.reply, message.data, headers=message.headers))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await connection.subscribe(subject, answer, queue=queue)


async def test_request_carries_payload_and_headers_both_ways(connection: Connection, lattice: str) -> None:
    await echo(connection, f"{lattice}.echo")
    answer = await connection.request(f"{lattice}.echo", b"\x00hello", deadline=soon(), headers={"Trellis-X": "ü 1"})
    assert answer.data == b"\x00hello"
    assert answer.headers == {"Trellis-X": "ü 1"}


async def test_many_requests_at_once_get_their_own_answers(connection: Connection, lattice: str) -> None:
    await echo(connection, f"{lattice}.echo")
    answers = await asyncio.gather(
        *(connection.request(f"{lattice}.echo", b"%d" % n, deadline=soon()) for n in range(500))
    )
    assert [answer.data for answer in answers] == [b"%d" % n for n in range(500)]


async def test_nobody_there_is_unavailable_and_certainly_not_executed(connection: Connection, lattice: str) -> None:
    with pytest.raises(Unavailable) as caught:
        await connection.request(f"{lattice}.nobody", b"x", deadline=soon())
    assert not caught.value.maybe_executed
    assert caught.value.fields["reason"] == "no-answerer"


async def test_silence_ends_at_the_deadline(connection: Connection, lattice: str) -> None:
    await connection.subscribe(f"{lattice}.silent", lambda message: None)
    with pytest.raises(DeadlineExceeded):
        await connection.request(f"{lattice}.silent", deadline=soon(0.05))
    with pytest.raises(DeadlineExceeded):
        await connection.request(f"{lattice}.silent", deadline=soon(-1))


async def test_too_large_is_refused_before_it_costs_the_connection(connection: Connection, lattice: str) -> None:
    await echo(connection, f"{lattice}.echo")
    with pytest.raises(RequestInvalid) as caught:
        await connection.request(f"{lattice}.echo", b"x" * connection.max_payload, deadline=soon(), headers={"A": "b"})
    assert caught.value.fields["limit"] == connection.max_payload
    whole = await connection.request(f"{lattice}.echo", b"x" * connection.max_payload, deadline=soon())
    assert len(whole.data) == connection.max_payload


@pytest.mark.parametrize("subject", ["a b", "", "a\r\nPUB evil 0"])
async def test_bad_subjects_are_refused(connection: Connection, subject: str) -> None:
    with pytest.raises(RequestInvalid):
        await connection.publish(subject, b"x")


async def test_gather_ends_early_when_enough_or_when_nobody_listens(connection: Connection, lattice: str) -> None:
    for _ in range(3):
        await echo(connection, f"{lattice}.all")
    answers = await connection.gather(
        f"{lattice}.all", b"hi", deadline=soon(60), enough=lambda answers: len(answers) == 3
    )
    assert [answer.data for answer in answers] == [b"hi"] * 3
    assert await connection.gather(f"{lattice}.nobody", b"hi", deadline=soon(60)) == []


async def test_gather_returns_what_came_in_the_window(connection: Connection, lattice: str) -> None:
    await echo(connection, f"{lattice}.all")
    assert len(await connection.gather(f"{lattice}.all", b"hi", deadline=soon(0.2))) == 1


async def test_a_failing_callback_costs_one_message(
    connection: Connection, lattice: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[bytes] = []
    arrived = asyncio.Event()

    def callback(message: Message) -> None:
        seen.append(message.data)
        if message.data == b"1":
            raise ValueError("bad luck")
        arrived.set()

    await connection.subscribe(f"{lattice}.x", callback)
    await connection.publish(f"{lattice}.x", b"1")
    await connection.publish(f"{lattice}.x", b"2")
    async with asyncio.timeout(5):
        await arrived.wait()
    assert seen == [b"1", b"2"]
    assert "bad luck" in caplog.text


async def test_unsubscribed_means_silent(connection: Connection, lattice: str) -> None:
    seen: list[bytes] = []
    subscription = await connection.subscribe(f"{lattice}.x", lambda message: seen.append(message.data))
    await subscription.unsubscribe()
    await subscription.unsubscribe()
    await connection.publish(f"{lattice}.x", b"1")
    await connection.flush(deadline=soon())
    assert seen == []


async def test_an_unreachable_server_is_reported_at_once() -> None:
    settings = ConnectionSettings(urls=("nats://user:secret@127.0.0.1:1",))
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable) as caught:
            await Connection.connect(settings, timeout=60)
    assert "nats://127.0.0.1:1: connection refused" in caught.value.message
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "a b", "nats://", "nats://x:port", "nats://x:99999", "http://x:4222", "ws://x:4222", "nats://x:0 y"]
)
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the url of a NATS server"):
        await Connection.connect(ConnectionSettings(urls=(url,)), timeout=60)


async def test_settings_that_cannot_connect_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No NATS server is named"):
        await Connection.connect(ConnectionSettings(urls=()), timeout=60)
    with pytest.raises(ConfigError, match=r"x\.creds cannot be read"):
        await Connection.connect(ConnectionSettings(credentials=tmp_path / "x.creds"), timeout=60)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad\r\n\r\n", b"\xff\xff", b"INFO {}\r\n", b"INFO x\r\n"])
async def test_a_server_that_does_not_speak_nats(greeting: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="NATS cannot be reached"):
            await Connection.connect(ConnectionSettings(urls=(f"nats://127.0.0.1:{port}",)), timeout=60)


async def test_the_second_url_is_tried(nats_server: str) -> None:
    settings = ConnectionSettings(urls=("nats://127.0.0.1:1", nats_server))
    connection = await Connection.connect(settings, timeout=60)
    assert connection.url == nats_server
    await connection.aclose()


class Server:
    """A server of one test, which may be stopped and started again on its port."""

    def __init__(self, data_dir: Path, **extra: str) -> None:
        self.settings = NatsServerSettings(data_dir, extra=extra)

    async def start(self) -> str:
        self.server = await EmbeddedNats.start(self.settings)
        port = int(self.server.url.rpartition(":")[2])
        self.settings = NatsServerSettings(self.settings.data_dir, port=port, extra=self.settings.extra)
        return self.server.url

    async def stop(self) -> None:
        await self.server.stop()


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path)
    await server.start()
    yield server
    await server.stop()


class Watcher:
    """Waits for a connection to be lost or back."""

    def __init__(self, connection: Connection) -> None:
        self.changes: asyncio.Queue[bool] = asyncio.Queue()
        connection.listen(self.changes.put_nowait)

    async def sees(self, connected: bool) -> None:
        async with asyncio.timeout(20):
            while await self.changes.get() is not connected:
                pass


async def test_a_server_that_goes_and_comes_back(server: Server) -> None:
    connection = await Connection.connect(ConnectionSettings(urls=(server.server.url,)), timeout=5)
    watcher = Watcher(connection)
    await echo(connection, "echo")
    await connection.subscribe("silent", lambda message: None)
    pending = asyncio.create_task(connection.request("silent", deadline=soon(60)))
    await connection.flush(deadline=soon())

    await server.stop()
    with pytest.raises(Unavailable) as lost:
        await pending
    assert lost.value.maybe_executed
    await watcher.sees(False)
    assert not connection.connected
    with pytest.raises(Unavailable) as refused:
        await connection.request("echo", b"x", deadline=soon(60))
    assert not refused.value.maybe_executed
    with pytest.raises(Unavailable):
        await connection.publish("echo", b"x")
    late: list[bytes] = []
    await connection.subscribe("late", lambda message: late.append(message.data))

    await server.start()
    await watcher.sees(True)
    assert (await connection.request("echo", b"again", deadline=soon())).data == b"again"
    await connection.publish("late", b"1")
    await connection.flush(deadline=soon())
    assert late == [b"1"]
    await connection.aclose()
    with pytest.raises(Unavailable):
        await connection.publish("echo", b"x")


async def test_a_server_that_freezes_is_noticed(server: Server) -> None:
    settings = ConnectionSettings(urls=(server.server.url,), ping_interval=0.05)
    connection = await Connection.connect(settings, timeout=5)
    watcher = Watcher(connection)
    await echo(connection, "echo")
    os.kill(server.server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable) as caught:
            await connection.request("echo", b"x", deadline=soon(60))
        assert caught.value.maybe_executed
    finally:
        os.kill(server.server.pid, signal.SIGCONT)
    await watcher.sees(True)
    assert (await connection.request("echo", b"again", deadline=soon())).data == b"again"
    await connection.aclose()


async def test_a_connection_the_server_closed_for_good_is_made_anew(server: Server) -> None:
    connection = await Connection.connect(ConnectionSettings(urls=(server.server.url,)), timeout=5)
    watcher = Watcher(connection)
    await echo(connection, "echo")
    # Longer than the server's longest control line: it answers with an error after which nats-py gives up.
    await connection.publish("x" * 5000, b"x")
    await watcher.sees(True)
    assert (await connection.request("echo", b"again", deadline=soon())).data == b"again"
    await connection.aclose()


async def test_wrong_credentials_are_denied_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path, authorization='{ token: "right" }')
    url = await server.start()
    try:
        settings = ConnectionSettings(urls=(url,))
        async with asyncio.timeout(20):
            with pytest.raises(Denied):
                await Connection.connect(settings, timeout=60, patient=True)
    finally:
        await server.stop()


async def test_patience_waits_for_a_server_that_starts_later(server: Server) -> None:
    await server.stop()
    url = f"nats://127.0.0.1:{server.settings.port}"
    connecting = asyncio.create_task(Connection.connect(ConnectionSettings(urls=(url,)), timeout=60, patient=True))
    await asyncio.sleep(0)
    await server.start()
    connection = await connecting
    assert connection.connected
    await connection.aclose()
