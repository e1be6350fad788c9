"""Answers to `config.put`, `config.get` and `config.del` (lattice-protocol 1.8): any host, from shared state."""

from __future__ import annotations

from trellis_host.control.context import ControlContext
from trellis_lattice.config import ConfigMap
from trellis_lattice.control import CtlResponse, config
from trellis_lattice.control.server import ControlServer
from trellis_lattice.events.config import ConfigDeleted, ConfigSet
from trellis_lattice.subjects import ControlSubject

__all__ = ["register"]


def register(server: ControlServer, host: ControlContext) -> None:
    async def put(request: ConfigMap, subject: ControlSubject) -> CtlResponse[None]:
        name = subject.argument or ""
        await host.shared.put_config(name, request, deadline=host.deadline())
        await host.publish(ConfigSet(config_name=name))
        return CtlResponse.done("successfully put config")

    async def get(request: None, subject: ControlSubject) -> CtlResponse[ConfigMap]:
        values = await host.shared.get_config(subject.argument or "", deadline=host.deadline())
        return CtlResponse.done(config.NOT_FOUND) if values is None else CtlResponse.ok(values)

    async def delete(request: None, subject: ControlSubject) -> CtlResponse[None]:
        name = subject.argument or ""
        await host.shared.delete_config(name, deadline=host.deadline())
        await host.publish(ConfigDeleted(config_name=name))
        return CtlResponse.done("successfully deleted config")

    server.handle(config.PUT, put)
    server.handle(config.GET, get)
    server.handle(config.DEL, delete)
