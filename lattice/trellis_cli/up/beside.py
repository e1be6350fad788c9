"""What `trellis up` does beside supervising: shows logs and what runs, deploys what was asked for, says it is ready.

The law of this file: nothing here can end the lattice; what goes wrong is said, and the lattice stays up.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from trellis_cli.manifests import read_source
from trellis_cli.output import Format, Report
from trellis_cli.settings import Settings
from trellis_cli.terminal import Terminal
from trellis_cli.up.supervisor import Supervisor
from trellis_cli.up.view import View, follow
from trellis_lattice.errors import TrellisError

if TYPE_CHECKING:
    from trellis_cli.applications import Applications

__all__ = ["Beside"]

_REFRESH = 1.0


class Beside:
    """Made before the supervisor runs; `begin` once its hosts are ready, `end` when it has ended."""

    def __init__(self, terminal: Terminal, supervisor: Supervisor, view: View, group: asyncio.TaskGroup) -> None:
        self._terminal = terminal
        self._supervisor = supervisor
        self._view = view
        self._group = group
        self._to_try: list[str] = []
        logs = supervisor.settings.logs
        self._tasks = [
            group.create_task(follow(host.name, logs / f"{host.name}.log", view), name=f"follow-{host.name}")
            for host in supervisor.hosts
        ]

    def begin(self) -> None:
        """Everything is up."""
        task = self._group.create_task(self._after_start(), name="after-start")
        self._supervisor.on_stop = lambda: self._stop(task)
        self._tasks.append(task)

    def _stop(self, task: asyncio.Task[None]) -> None:
        """What runs is no longer worth showing, and nothing more is deployed; the hosts' last words are."""
        task.cancel()
        self._view.facts({})

    def end(self) -> None:
        """Everything has ended."""
        for task in self._tasks:
            task.cancel()

    async def _after_start(self) -> None:
        from trellis_cli.applications import open_applications

        up = self._supervisor
        settings = Settings(Format.TABLE, up.settings.lattice, up.nats_url, environ=dict(up.settings.connection))
        data: dict[str, Any] = {
            "lattice": up.settings.lattice,
            "nats_url": up.nats_url,
            "data_dir": str(up.settings.data_dir),
            "hosts": [{"name": h.name, "id": h.id, "friendly_name": h.friendly_name, "pid": h.pid} for h in up.hosts],
        }
        try:
            async with open_applications(settings) as applications:
                if up.settings.manifests:
                    data["applications"] = await self._deploy(applications)
                self._ready(data)
                if self._terminal.interactive:
                    await self._watch(applications)
        except TrellisError as error:
            self._view.say(f"error: {error}")
            self._ready(data)

    def _ready(self, data: dict[str, Any]) -> None:
        up = self._supervisor
        hosts = "1 host" if up.settings.hosts == 1 else f"{up.settings.hosts} hosts"
        tries = "".join(f"Try it: {line}\n" for line in self._to_try)
        self._view.ready(
            f"Lattice `{up.settings.lattice}` is up at {up.nats_url} with {hosts}.\n{tries}Ctrl-C stops it."
        )
        self._terminal.emit(Report(data, names=[host.id for host in up.hosts]))

    async def _deploy(self, applications: Applications) -> list[dict[str, Any]]:
        from trellis_cli.output.applications import curl_commands, failure_text
        from trellis_cli.rollout import DEPLOY_TIMEOUT, Verdict

        reports = []
        for path in self._supervisor.settings.manifests:
            for one in await applications.put(await asyncio.to_thread(read_source, str(path))):
                self._view.say(f"Deploying `{one.name}` …")
                version = await applications.deploy(one.name, one.version)
                verdict, status = await applications.until_deployed(one.name, version, self._view.say, DEPLOY_TIMEOUT)
                if verdict is Verdict.DEPLOYED:
                    self._view.say(f"Deployed `{one.name}`.")
                    self._to_try += curl_commands(one.routes)
                else:
                    self._view.say("error: " + "\n".join(failure_text(one.name, status)))
                report = {"model_name": one.name, "model_version": version, "deployed": verdict is Verdict.DEPLOYED}
                reports.append({**report, "routes": [list(route) for route in one.routes]})
        return reports

    async def _watch(self, applications: Applications) -> None:
        """Keeps the live block's facts fresh."""
        while True:
            with contextlib.suppress(TrellisError):
                self._view.facts(await _facts(applications))
            await asyncio.sleep(_REFRESH)


async def _facts(applications: Applications) -> dict[str, str]:
    inventories = await applications.lattice.inventories()
    components = {item.id for host in inventories for item in host.components}
    providers = {item.id for host in inventories for item in host.providers}
    facts = {"components": ", ".join(sorted(components)) or "none", "providers": ", ".join(sorted(providers)) or "none"}
    with contextlib.suppress(TrellisError):  # no scheduler yet
        for app in await applications.all():
            facts[f"app {app.name}"] = str(app.detailed_status.type)
    return facts
