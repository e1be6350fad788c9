"""The supervisor with a real NATS server and hosts that do nothing but speak its channel."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Diary, fake_hosts
from trellis_cli.up import record
from trellis_cli.up.backoff import RestartPolicy
from trellis_cli.up.settings import HostCommand, UpSettings
from trellis_cli.up.supervisor import Supervisor
from trellis_lattice.errors import Conflict, DeadlineExceeded, TrellisError, Unavailable

ROOT = Path(__file__).parents[2]


def settings(data_dir: Path, **changes: object) -> UpSettings:
    return UpSettings(**{"data_dir": data_dir, "lattice": "t", "nats_port": 0, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    wanted: UpSettings, diary: Diary, command: HostCommand, policy: RestartPolicy | None = None
) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(wanted, diary, policy, command)
    ready = asyncio.Event()
    task = asyncio.create_task(supervisor.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=20)
    waiting.cancel()
    try:
        if task.done():
            task.result()
        yield supervisor
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, TrellisError):
            raise error


def port_is_free(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) != 0


async def test_everything_starts_is_recorded_and_ends(tmp_path: Path, diary: Diary) -> None:
    async with running(settings(tmp_path, hosts=2), diary, fake_hosts()) as supervisor:
        found = record.running(tmp_path)
        assert found is not None
        assert found.state == "running"
        assert found.nats_url == supervisor.nats_url
        assert [host.name for host in found.hosts] == ["host-1", "host-2"]
        assert all(host.process.alive and host.friendly_name == "fake-host-1" for host in found.hosts)
        assert not port_is_free(supervisor.nats_url)
        assert "hello" in (tmp_path / "logs" / "host-2.log").read_text()
    assert record.load(tmp_path) is None
    assert not record.DataDirLock.held(tmp_path)
    assert not any(host.process.alive for host in found.hosts)
    assert port_is_free(supervisor.nats_url)
    assert [state.phase for state in diary.hosts if state.name == "host-1"] == [
        "starting",
        "ready",
        "stopping",
        "stopped",
    ]


async def test_a_second_one_on_the_same_data_says_so(tmp_path: Path, diary: Diary) -> None:
    async with running(settings(tmp_path), diary, fake_hosts()) as first:
        with pytest.raises(Conflict, match="runs already") as caught:
            await Supervisor(settings(tmp_path), Diary(), command=fake_hosts()).run(lambda: None)
        assert str(os.getpid()) in caught.value.message
        assert first.nats_url in caught.value.message
        assert record.running(tmp_path) is not None


async def test_a_host_that_dies_is_started_again(tmp_path: Path, diary: Diary) -> None:
    policy = RestartPolicy(first=0.01)
    async with running(settings(tmp_path), diary, fake_hosts(), policy):
        for restarts in (1, 2):
            pid = diary.hosts[-1].pid
            os.kill(pid, signal.SIGKILL)
            await diary.until(lambda n=restarts: diary.hosts[-1].phase == "ready" and diary.hosts[-1].restarts == n)
            assert diary.hosts[-1].pid != pid
        assert "host-1 was killed by SIGKILL" in diary.lines[0]
        found = record.load(tmp_path)
        assert found is not None
        assert found.hosts[0].process.pid == diary.hosts[-1].pid


async def test_a_host_that_keeps_dying_stays_down_and_the_last_one_ends_it_all(tmp_path: Path, diary: Diary) -> None:
    policy = RestartPolicy(first=0.01, attempts=0)
    async with running(settings(tmp_path), diary, fake_hosts(), policy):
        os.kill(diary.hosts[-1].pid, signal.SIGKILL)
        await diary.until(lambda: diary.phases[-1] == "stopped")
    assert [state for state in diary.hosts if state.phase == "failed"]
    assert "stays down" in diary.lines[-1]
    assert record.load(tmp_path) is None


async def test_the_nats_server_is_started_again_on_its_port(tmp_path: Path, diary: Diary) -> None:
    async with running(settings(tmp_path), diary, fake_hosts()) as supervisor:
        pid = int((tmp_path / "nats" / "nats.json").read_text().partition('"pid": ')[2].partition(",")[0])
        os.kill(pid, signal.SIGKILL)
        await diary.until(lambda: "restarting" in diary.phases and diary.phases[-1] == "ready")
        assert not port_is_free(supervisor.nats_url)
        assert record.running(tmp_path) is not None


async def test_a_host_that_cannot_start_ends_the_attempt_with_its_last_words(tmp_path: Path, diary: Diary) -> None:
    with pytest.raises(Unavailable, match="ended with status 3") as caught:
        async with running(settings(tmp_path, hosts=2), diary, fake_hosts("die")):
            pass
    assert "cannot go on: no reason" in caught.value.message
    assert caught.value.remedy is not None
    assert record.load(tmp_path) is None
    assert diary.phases[-1] == "stopped"


async def test_a_host_that_is_never_ready_is_named(tmp_path: Path, diary: Diary) -> None:
    with pytest.raises(DeadlineExceeded, match="host-1"):
        async with running(settings(tmp_path, start_timeout=0.3), diary, fake_hosts("silent")):
            pass
    assert record.load(tmp_path) is None


async def test_a_host_that_does_not_end_is_killed(tmp_path: Path, diary: Diary) -> None:
    async with running(settings(tmp_path, stop_grace=0.2), diary, fake_hosts("stubborn")):
        process = record.Process.of(diary.hosts[-1].pid)
    assert not process.alive


async def test_hurry_does_not_wait_for_the_grace(tmp_path: Path, diary: Diary) -> None:
    supervisor = Supervisor(settings(tmp_path, stop_grace=600.0), diary, command=fake_hosts("stubborn"))
    ready = asyncio.Event()
    task = asyncio.create_task(supervisor.run(ready.set))
    await asyncio.wait_for(ready.wait(), 20)
    task.cancel()
    await diary.until(lambda: diary.hosts[-1].phase == "stopping")
    supervisor.hurry()
    await asyncio.wait_for(asyncio.wait([task]), 20)
    assert task.cancelled()
    assert record.load(tmp_path) is None


@pytest.mark.parametrize("moment", ["nats starting", "nats ready", "host starting"])
async def test_cancelled_during_the_start_leaves_nothing(tmp_path: Path, diary: Diary, moment: str) -> None:
    supervisor = Supervisor(settings(tmp_path), diary, command=fake_hosts("silent"))
    task = asyncio.create_task(supervisor.run(lambda: None))
    what, phase = moment.split()
    await diary.until(lambda: phase in (diary.phases if what == "nats" else [h.phase for h in diary.hosts]))
    found = record.load(tmp_path)
    task.cancel()
    await asyncio.wait_for(asyncio.wait([task]), 20)
    assert task.cancelled()
    assert record.load(tmp_path) is None
    assert found is not None
    assert not any(host.process.alive for host in found.hosts)
    assert not (tmp_path / "nats" / "nats.json").exists()


async def test_leftovers_of_a_killed_supervisor_are_ended_first(tmp_path: Path, diary: Diary) -> None:
    orphan = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    stranger = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    try:
        gone = record.Process(2**22 - 7, "1")
        hosts = (
            record.HostRecord("host-1", record.Process.of(orphan.pid)),
            record.HostRecord("host-2", record.Process(stranger.pid, "not its start time")),
        )
        record.save(tmp_path, record.UpRecord(gone, "t", "running", hosts=hosts))
        async with running(settings(tmp_path), diary, fake_hosts()):
            assert await orphan.wait() == -signal.SIGTERM
            assert stranger.returncode is None
    finally:
        for process in (orphan, stranger):
            if process.returncode is None:
                process.kill()
                await process.wait()


SUPERVISE = """
import asyncio, pathlib, sys
from tests.cli.conftest import Diary, fake_hosts
from trellis_cli.up.settings import UpSettings
from trellis_cli.up.supervisor import Supervisor

settings = UpSettings(pathlib.Path(sys.argv[1]), "t", hosts=2, nats_port=0)
asyncio.run(Supervisor(settings, Diary(), command=fake_hosts()).run(lambda: print("ready", flush=True)))
"""


async def test_when_the_supervisor_is_killed_everything_ends(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISE, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
    found = record.running(tmp_path)
    nats = json.loads((tmp_path / "nats" / "nats.json").read_text())
    assert found is not None
    children = [record.Process(nats["pid"], nats["started"]), *(host.process for host in found.hosts)]
    assert all(child.alive for child in children)
    process.kill()
    await process.wait()
    async with asyncio.timeout(20):
        while any(child.alive for child in children):
            await asyncio.sleep(0.01)
    assert port_is_free(found.nats_url)
