"""`trellis up` and `down`, as a user runs them: real hosts, real NATS, and nothing left behind."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import pty
import re
import signal
import socket
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.support import command, environment, in_process, session, trellis
from trellis_cli.up import record
from trellis_cli.up.record import Process

pytestmark = pytest.mark.journey


class Traces:
    """Everything that a `trellis up` on a data directory could leave behind."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.processes: set[Process] = set()
        self.urls: set[str] = set()

    def look(self) -> None:
        """Notes what runs now."""
        found = record.load(self.data_dir)
        if found is not None:
            self.processes |= {found.supervisor, *(host.process for host in found.hosts)}
            self.urls |= {found.nats_url} - {""}
        try:
            nats = json.loads((self.data_dir / "nats" / "nats.json").read_text())
        except (OSError, ValueError):
            return
        if nats["started"]:
            self.processes.add(Process(nats["pid"], nats["started"]))

    def check_nothing_is_left(self) -> None:
        assert record.load(self.data_dir) is None
        assert not record.DataDirLock.held(self.data_dir)
        assert not [process for process in self.processes if process.alive]
        for url in self.urls:
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == errno.ECONNREFUSED


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def left(data_dir: Path) -> Iterator[Traces]:
    traces = Traces(data_dir)
    yield traces
    traces.check_nothing_is_left()


def up(data_dir: Path, *more: str) -> tuple[str, ...]:
    return ("up", "--data-dir", str(data_dir), "--nats-port", "0", *more)


async def test_foreground_in_a_pipe_says_lines_and_answers_once(data_dir: Path, tmp_path: Path, left: Traces) -> None:
    async with session(*up(data_dir, "--hosts", "2", "--label", "zone=a", "-o", "json"), home=tmp_path) as running:
        await running.until('"hosts"')
        await running.until("Ctrl-C stops it.")
        left.look()
        answer = json.loads(running.out)
        assert answer["success"] is True
        assert len(answer["hosts"]) == 2
        assert "\x1b" not in running.err
        assert re.search(r"^host-1 is ready: \S+ N[A-Z2-7]{55}$", running.err, re.MULTILINE)
        where = ("--nats-url", answer["nats_url"])
        hosts = (await trellis("get", "hosts", "-o", "json", *where, home=tmp_path)).json["hosts"]
        assert {host["id"] for host in hosts} == {host["id"] for host in answer["hosts"]}
        assert all(host["labels"]["zone"] == "a" for host in hosts)
        running.signal(signal.SIGINT)
        assert await running.ended() == 130


@pytest.mark.parametrize(
    "moment", ["nats is starting", "nats is ready", "host-1 is starting", "host-1 is ready", "Ctrl-C stops it."]
)
async def test_ctrl_c_at_any_moment_leaves_nothing(data_dir: Path, tmp_path: Path, left: Traces, moment: str) -> None:
    async with session(*up(data_dir), home=tmp_path) as running:
        await running.until(moment)
        left.look()
        running.signal(signal.SIGINT)
        assert await running.ended() == 130
    assert "error" not in running.err


async def test_ctrl_c_twice_does_not_wait(data_dir: Path, tmp_path: Path, left: Traces) -> None:
    async with session(*up(data_dir), home=tmp_path) as running:
        await running.until("Ctrl-C stops it.")
        left.look()
        running.signal(signal.SIGINT)
        await running.until("Stopping")
        running.signal(signal.SIGINT)
        assert await running.ended() == 130


def test_in_the_background_other_commands_find_it_and_down_ends_it(
    data_dir: Path, tmp_path: Path, left: Traces
) -> None:
    env = {"TRELLIS_DATA_DIR": str(data_dir)}
    started = in_process("up", "--detach", "--nats-port", "0", "-o", "json", home=tmp_path, env=env)
    left.look()
    assert started.status == 0, started.err
    host = started.json["hosts"][0]
    for name in (host["id"], host["id"][:8], host["friendly_name"]):
        found = in_process("get", "inventory", name, "-o", "json", home=tmp_path, env=env)
        assert found.json["inventories"][0]["host_id"] == host["id"]
    second = in_process("up", home=tmp_path, env=env)
    assert second.status == 1
    assert "runs already" in second.err
    version = in_process("version", "-o", "json", home=tmp_path, env=env)
    assert version.json["hosts"][0]["version"] == version.json["trellis"]
    assert in_process("down", home=tmp_path, env=env).status == 0
    left.check_nothing_is_left()
    again = in_process("down", home=tmp_path, env=env)
    assert again.status == 0
    assert "Nothing" in again.err
    gone = in_process("get", "hosts", "--nats-url", started.json["nats_url"], home=tmp_path)
    assert gone.status == 5
    assert "trellis up" in gone.err


def test_state_and_identity_survive_a_restart(data_dir: Path, tmp_path: Path, left: Traces) -> None:
    ids = set()
    for _ in range(2):
        started = in_process(*up(data_dir, "--detach", "-o", "json"), home=tmp_path)
        left.look()
        ids.add(started.json["hosts"][0]["id"])
        assert (in_process("down", "--data-dir", str(data_dir), home=tmp_path)).status == 0
    assert len(ids) == 1


def test_a_background_start_that_fails_says_why(data_dir: Path, tmp_path: Path, left: Traces) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        for more in ((), ("--detach",)):
            run = in_process("up", "--data-dir", str(data_dir), "--nats-port", port, *more, home=tmp_path)
            assert run.status == 1
            assert port in run.err
            assert len(run.err.splitlines()) <= 4
    nowhere = in_process("up", "--nats-url", f"nats://127.0.0.1:{port}", "--data-dir", str(data_dir), home=tmp_path)
    assert nowhere.status == 5


async def test_a_killed_host_comes_back_and_a_killed_supervisor_leaves_nothing(
    data_dir: Path, tmp_path: Path, left: Traces
) -> None:
    async with session(*up(data_dir), home=tmp_path) as running:
        await running.until("Ctrl-C stops it.")
        left.look()
        found = record.load(data_dir)
        assert found is not None
        os.kill(found.hosts[0].process.pid, signal.SIGKILL)
        await running.until("host-1 was killed by SIGKILL")
        left.look()
        running.signal(signal.SIGKILL)
        await running.process.wait()
        left.look()
        assert (await trellis("down", "--data-dir", str(data_dir), home=tmp_path)).status == 0


async def test_down_touches_nothing_that_up_did_not_start(data_dir: Path, tmp_path: Path, left: Traces) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        data_dir.mkdir()
        process = Process(stranger.pid, "another start time")
        hosts = (record.HostRecord("host-1", process),)
        record.save(data_dir, record.UpRecord(process, "default", "running", hosts=hosts))
        assert (await trellis("down", "--data-dir", str(data_dir), home=tmp_path)).status == 0
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


@asynccontextmanager
async def on_a_terminal(*arguments: str, home: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Terminal]]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(home),
        preexec_fn=_own_terminal,
    )
    os.close(theirs)
    terminal = Terminal(ours)
    try:
        async with asyncio.timeout(60):
            yield process, terminal
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        terminal.close()


async def test_on_a_terminal_it_shows_a_live_block(data_dir: Path, tmp_path: Path, left: Traces) -> None:
    async with on_a_terminal(*up(data_dir), home=tmp_path) as (process, terminal):
        await terminal.until("Ctrl-C stops it.", "components")
        left.look()
        terminal.type(b"\x03")
        await terminal.until_closed()
        assert await process.wait() == 130
    assert "\x1b[" in terminal.said
    assert "host-1" in terminal.said
    assert "Traceback" not in terminal.said


async def test_a_terminal_that_is_closed_ends_everything(data_dir: Path, tmp_path: Path, left: Traces) -> None:
    async with on_a_terminal(*up(data_dir), home=tmp_path) as (process, terminal):
        await terminal.until("Ctrl-C stops it.")
        left.look()
        terminal.close()
        await process.wait()


def _own_terminal() -> None:
    """Makes standard input the controlling terminal of a session of its own, so that Ctrl-C typed there arrives."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """Our side of a pseudo-terminal: what appears on it, and what is typed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.said = ""

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    async def until(self, *texts: str) -> None:
        """Reads until all of these have appeared."""
        while not all(text in self.said for text in texts):
            assert await self._read(), self.said

    async def until_closed(self) -> None:
        """Reads until nobody has the terminal open any more."""
        while await self._read():
            pass

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def _read(self) -> bool:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._descriptor, readable.set_result, None)
        try:
            await readable
        finally:
            loop.remove_reader(self._descriptor)
        try:
            text = os.read(self._descriptor, 65536).decode("utf-8", "replace")
        except OSError:
            return False
        self.said += text
        return bool(text)


def test_a_nats_server_that_is_not_there_is_told_before_any_host_starts(data_dir: Path, tmp_path: Path) -> None:
    run = in_process("up", "--data-dir", str(data_dir), "--nats-url", "nats://127.0.0.1:1", home=tmp_path)
    assert run.status == 5
    assert run.err.count("NATS cannot be reached") == 1
    assert "host-1" not in run.err
    assert record.load(data_dir) is None
