"""A child process of the supervisor: spawned in one step, watched, ended within a bound.

A host gets one end of a socket pair. On it the host says when it is ready; when the supervisor is gone, in
whatever way, the host reads the end of the stream and drains as after SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trellis_cli.up.record import Process

__all__ = ["Child", "tail"]

_MAX_MESSAGE = 64 * 1024
_LOG_KEPT = 8 * 1024 * 1024


class Child:
    """A running (or ended) child. Made by `spawn`."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], channel: socket.socket, log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self.process = Process.of(popen.pid)
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._channel = channel
        # A thread that only waits: it knows of the exit at once, on every system, and needs no signal handler.
        threading.Thread(target=self._wait, name=f"wait-{name}", daemon=True).start()

    @classmethod
    def spawn(cls, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path) -> Child:
        """Starts `command` with `--supervisor-fd N` appended and its output in `log`.

        The child has its own process group: Ctrl-C reaches the supervisor alone, which ends things in order.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_KEPT:
            log.replace(log.with_suffix(".log.1"))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, log.open("ab") as output:
            popen = subprocess.Popen(
                [*command, "--supervisor-fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environ),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return cls(name, popen, ours, log)

    @property
    def status(self) -> int | None:
        """Exit status; negative: the signal that killed it; None: it runs."""
        return self._popen.returncode

    async def exited(self) -> int:
        """Waits for the end; the exit status."""
        await self._exited.wait()
        return self._popen.returncode

    async def message(self) -> dict[str, Any] | None:
        """The next thing the child says on its channel; None if it closed it."""
        buffer = b""
        while not buffer.endswith(b"\n"):
            try:
                chunk = await self._loop.sock_recv(self._channel, 4096)
            except OSError:
                return None
            buffer += chunk
            if not chunk or len(buffer) > _MAX_MESSAGE:
                return None
        message = json.loads(buffer)
        return message if isinstance(message, dict) else None

    async def stop(self, grace: float, force: asyncio.Event) -> None:
        """Asks it to end; after `grace` seconds, or once `force` is set, kills it. Idempotent."""
        try:
            if not self._exited.is_set():
                self._signal(signal.SIGTERM)
                await _first(self._exited.wait(), force.wait(), timeout=grace)
        finally:
            if not self._exited.is_set():
                self._signal(signal.SIGKILL)
                await self._exited.wait()
            self._channel.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(number)

    def _wait(self) -> None:
        self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._exited.set)


async def _first(*waits: Any, timeout: float) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def tail(log: Path, limit: int = 2000) -> str:
    """The last characters of a log, from the start of a line."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
    return text if size <= limit else text.partition("\n")[2]
