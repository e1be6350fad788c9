"""The NATS server of `trellis up`: an embedded one that is kept running, or an external one that is only named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from trellis_cli.up import tether
from trellis_cli.up.backoff import RestartPolicy
from trellis_cli.up.settings import UpSettings
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.errors import Conflict, Unavailable

__all__ = ["NatsKeeper"]

_USUAL_PORT = 4222
_START_TIMEOUT = 15.0


class _Watcher(Protocol):
    def say(self, text: str) -> None: ...

    def nats(self, url: str, phase: str) -> None: ...


class NatsKeeper:
    """`async with` starts the server (if it is ours) and ends it; `keep` restarts it should it die."""

    def __init__(self, settings: UpSettings, watcher: _Watcher, force: asyncio.Event) -> None:
        self._settings = settings
        self._watcher = watcher
        self._force = force
        self._server: EmbeddedNats | None = None
        self.url = settings.nats_url or ""

    async def __aenter__(self) -> NatsKeeper:
        if self._settings.nats_url:
            await self._greet(self._settings.nats_url)
            self._watcher.nats(self.url, "external")
            return self
        self._watcher.nats("", "starting")
        self._server = await self._first_start()
        self.url = self._server.url
        self._watcher.nats(self.url, "ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._watcher.nats(self.url, "stopping")
            await self._server.stop(grace=0.2 if self._force.is_set() else 5.0)
            self._watcher.nats(self.url, "stopped")

    async def keep(self) -> None:
        """Restarts the server, on the same port and data, whenever it ends. Returns if it is not ours."""
        policy, failures = RestartPolicy(), 0
        loop = asyncio.get_running_loop()
        while self._server is not None:
            started = loop.time()
            status = await self._server.wait()
            failures = policy.failures(failures, loop.time() - started)
            pause = policy.pause(failures)
            if pause is None:
                raise Unavailable(
                    f"The NATS server ended {failures} times in a row.",
                    remedy=f"Its log is {self._nats_dir() / 'nats.log'}.",
                )
            self._watcher.nats(self.url, "restarting")
            self._watcher.say(f"The NATS server ended (status {status}); it is started again in {pause:.1f} s.")
            await asyncio.sleep(pause)
            await self._restart()

    async def _greet(self, url: str) -> None:
        """Raises why an external server cannot be used, once and before any host starts."""
        from trellis_cli.connecting import connection_settings
        from trellis_cli.settings import Settings
        from trellis_lattice.bus.connection import Connection

        settings = connection_settings(Settings(environ=dict(self._settings.connection), nats_url=url), "trellis-up")
        connection = await Connection.connect(settings, timeout=_START_TIMEOUT)
        await connection.aclose()

    async def _first_start(self) -> EmbeddedNats:
        if self._settings.nats_port is not None:
            return await self._start(self._settings.nats_port)
        try:
            return await self._start(_USUAL_PORT)
        except Conflict as error:
            if error.fields.get("port") != _USUAL_PORT:
                raise
            self._watcher.say(f"Port {_USUAL_PORT} is taken; NATS listens on another one.")
            return await self._start(0)

    async def _restart(self) -> None:
        assert self._server is not None
        port = int(self.url.rpartition(":")[2])
        await self._server.stop()
        try:
            self._server = await self._start(port)
        except (Unavailable, Conflict) as error:
            self._watcher.say(f"The NATS server did not start: {error.message}")
        else:
            self._watcher.nats(self.url, "ready")

    async def _start(self, port: int) -> EmbeddedNats:
        settings = NatsServerSettings(data_dir=self._nats_dir(), port=port)
        return await EmbeddedNats.start(settings, timeout=_START_TIMEOUT, launcher=tether.launcher())

    def _nats_dir(self) -> Path:
        return self._settings.data_dir / "nats"
