"""The supervisor: NATS first, then the listener broker, then the hosts; and backwards at the end.

The laws of this file: cancelling `Supervisor.run` at any moment ends everything it started, in order, within
bounds; a second request to end (`hurry`) kills what still drains. A host that dies is started again, visibly,
with growing pauses. A host that cannot even start the first time ends the whole attempt with its reason.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from trellis_cli.up import record
from trellis_cli.up.backoff import RestartPolicy
from trellis_cli.up.children import Child, tail
from trellis_cli.up.groups import leading_error
from trellis_cli.up.listeners import ListenerBroker
from trellis_cli.up.nats import NatsKeeper
from trellis_cli.up.record import HostRecord, Process, UpRecord
from trellis_cli.up.settings import HostCommand, UpSettings, child_environment, host_command, host_names
from trellis_lattice.errors import DeadlineExceeded, Unavailable

__all__ = ["HostState", "Supervisor", "Watcher"]


@dataclass(frozen=True, slots=True)
class HostState:
    """How one host is. `phase`: `starting`, `ready`, `restarting`, `stopping`, `stopped` or `failed`."""

    name: str
    phase: str
    id: str = ""
    friendly_name: str = ""
    pid: int = 0
    restarts: int = 0
    detail: str = ""


class Watcher(Protocol):
    """Whoever shows what the supervisor does. Called on its event loop; must not wait."""

    def say(self, text: str) -> None:
        """Something happened that everyone should read."""

    def nats(self, url: str, phase: str) -> None:
        """NATS is `starting`, `ready`, `restarting`, `stopping` or `stopped`; `external` if it is not ours."""

    def host(self, state: HostState) -> None:
        """A host changed."""


class Supervisor:
    """Runs what `settings` ask for. `run` once."""

    def __init__(
        self,
        settings: UpSettings,
        watcher: Watcher,
        policy: RestartPolicy | None = None,
        command: HostCommand = host_command,
    ) -> None:
        self.settings = settings
        self._command = command
        self._watcher = watcher
        self._policy = policy or RestartPolicy()
        self._force = asyncio.Event()
        self._all_ready = asyncio.Event()
        self._states = {name: HostState(name, "starting") for name in host_names(settings.hosts)}
        self._record = UpRecord(Process.of(os.getpid()), settings.lattice, embedded_nats=settings.nats_url is None)
        self.nats_url = ""
        self.on_stop: Callable[[], None] = lambda: None
        """Called when it is asked to end, before anything does."""

    @property
    def hosts(self) -> list[HostState]:
        return list(self._states.values())

    def hurry(self) -> None:
        """Kills what has not ended yet."""
        self._force.set()

    async def run(self, when_ready: Callable[[], None]) -> None:
        """Runs until cancelled, then ends everything. Calls `when_ready` once when all hosts are ready.

        Raises `Conflict` if the data directory is in use, and whatever kept NATS or a host from starting.
        """
        lock = record.DataDirLock(self.settings.data_dir)
        try:
            await self._end_leftovers()
            self._save()
            async with NatsKeeper(self.settings, self._watcher, self._force) as nats:
                self.nats_url = nats.url
                self._save(nats_url=nats.url)
                async with ListenerBroker(home=self.settings.data_dir) as broker:
                    await self._hosts(nats, broker, when_ready)
        finally:
            record.forget(self.settings.data_dir)
            lock.release()

    async def _hosts(self, nats: NatsKeeper, broker: ListenerBroker, when_ready: Callable[[], None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(nats.keep(), name="keep-nats")
                keepers = [group.create_task(self._keep(name, broker), name=f"keep-{name}") for name in self._states]
                await self._until_ready()
                self._save(state="running")
                when_ready()
                await asyncio.wait(keepers)
                raise Unavailable(
                    "No host is left: all of them ended and could not be started again.",
                    remedy=f"Their logs are in {self.settings.logs}.",
                )
        except BaseExceptionGroup as group_error:
            raise leading_error(group_error) from None

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self.settings.start_timeout):
                await self._all_ready.wait()
        except TimeoutError as error:
            late = [state.name for state in self.hosts if state.phase != "ready"]
            raise DeadlineExceeded(
                f"Not ready within {self.settings.start_timeout:g} s: {', '.join(late)}.",
                remedy=f"The logs are in {self.settings.logs}; --timeout waits longer.",
            ) from error

    async def _keep(self, name: str, broker: ListenerBroker) -> None:
        """Runs one host, again and again."""
        failures, restarts = 0, 0
        while True:
            started = time.monotonic()
            status = await self._life(name, broker, restarts)
            failures = self._policy.failures(failures, time.monotonic() - started)
            log = self.settings.logs / f"{name}.log"
            if not self._all_ready.is_set():
                raise Unavailable(
                    f"{name} ended while it started ({_ending(status)}).{_last_words(tail(log))}",
                    remedy=f"Its log is {log}.",
                )
            if status == 0:
                self._set(name, detail="asked to stop")
                self._watcher.say(f"{name} was asked to stop, and has; it stays down.")
                return
            pause = self._policy.pause(failures)
            if pause is None:
                self._set(name, phase="failed", pid=0, detail=_ending(status))
                self._watcher.say(
                    f"{name} {_ending(status)}, for the {failures}th time in a row; it stays down. Log: {log}"
                )
                return
            restarts += 1
            self._set(name, phase="restarting", pid=0, restarts=restarts, detail=_ending(status))
            self._watcher.say(f"{name} {_ending(status)}; it is started again in {pause:.1f} s. Log: {log}")
            await asyncio.sleep(pause)

    async def _life(self, name: str, broker: ListenerBroker, restarts: int) -> int:
        """One process of a host, from start to end; its exit status."""
        command = self._command(self.settings, name, self.nats_url, broker.path)
        environ = child_environment(os.environ, self.settings)
        child = Child.spawn(name, command, environ, self.settings.logs / f"{name}.log")
        try:
            self._record = self._record.with_host(HostRecord(name, child.process))
            self._save()
            self._set(name, phase="starting", pid=child.process.pid, restarts=restarts)
            listening = asyncio.create_task(self._listen(name, child), name=f"listen-{name}")
            try:
                return await child.exited()
            finally:
                listening.cancel()
        finally:
            if child.status is None:
                self._set(name, phase="stopping")
            await child.stop(self.settings.stop_grace, self._force)
            self._set(name, phase="stopped", pid=0)

    async def _listen(self, name: str, child: Child) -> None:
        while (message := await child.message()) is not None:
            if message.get("event") == "ready":
                host_id, friendly = str(message.get("host_id", "")), str(message.get("friendly_name", ""))
                self._record = self._record.with_host(HostRecord(name, child.process, host_id, friendly))
                self._save()
                self._set(name, phase="ready", id=host_id, friendly_name=friendly, detail="")
                if all(state.phase == "ready" for state in self.hosts):
                    self._all_ready.set()

    def _set(self, name: str, **changes: object) -> None:
        state = replace(self._states[name], **changes)  # type: ignore[arg-type]
        if state != self._states[name]:
            self._states[name] = state
            self._watcher.host(state)

    def _save(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)  # type: ignore[arg-type]
        record.save(self.settings.data_dir, self._record)

    async def _end_leftovers(self) -> None:
        """Hosts of a supervisor that was killed end by themselves; this waits for them, and helps."""
        from trellis_cli.up.down import end_processes

        before = record.load(self.settings.data_dir)
        if before is None:
            return
        ended = await end_processes([host.process for host in before.hosts], grace=5.0)
        if ended:
            self._watcher.say(f"Ended {ended} host(s) left behind by a `trellis up` that was killed.")


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    import signal

    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _last_words(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()][-6:]
    return "\n" + "\n".join(f"  {line[:400]}" for line in lines) if lines else ""
