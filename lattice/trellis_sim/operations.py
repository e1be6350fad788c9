"""Commands as messages: to the host they are for, or to any host, which changes what is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, assert_never

from trellis_lattice.errors import ConfigError, TrellisError
from trellis_lattice.links import Link, LinkId, put_link, remove_link
from trellis_sim.bus import ABSENT, LOST
from trellis_wadm.planner.commands import (
    Command,
    DeleteConfig,
    DeleteLink,
    PrepareComponent,
    PutConfig,
    PutLink,
    ScaleComponent,
    StartProvider,
    StopProvider,
)

if TYPE_CHECKING:
    from trellis_sim.process import Process

__all__ = ["Operations"]

_STORE_TIMEOUT = 1.8

Reply = Callable[[object], None]


class Operations:
    """Sends commands on behalf of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._bus = process.universe.bus

    def send(self, command: Command, done: Reply, timeout: float) -> None:
        """`done` hears None, an error, `ABSENT` or `LOST`."""

        def handle(node: Any, reply: Reply) -> None:
            self._handle(node, command, reply)

        match command:
            case ScaleComponent(host) | StartProvider(host) | StopProvider(host) | PrepareComponent(host):
                self._bus.request(self._process, host, handle, done, timeout)
            case PutConfig() | DeleteConfig() | PutLink() | DeleteLink():
                near = [id for id, node in self._bus.nodes.items() if self._bus.reaches(self._process, node)]
                if near:
                    chosen = self._process.universe.random.choice(near)
                    self._bus.request(self._process, chosen, handle, done, timeout)
                else:
                    self._process.after(0.0, done, ABSENT)
            case _:
                assert_never(command)

    def _handle(self, node: Process, command: Command, reply: Reply) -> None:
        match command:
            case ScaleComponent():
                node.workloads.scale(command, reply)
            case StartProvider():
                node.workloads.start_provider(command, reply)
            case StopProvider():
                node.workloads.stop_provider(command, reply)
            case PrepareComponent():
                node.workloads.prepare(command, reply)
            case PutConfig() | DeleteConfig() | PutLink() | DeleteLink():

                def stored(result: object) -> None:
                    if result is not LOST:
                        reply(result)

                self._bus.call_store(node, lambda: self._change(command), stored, _STORE_TIMEOUT)
            case _:
                assert_never(command)

    def _change(self, command: PutConfig | DeleteConfig | PutLink | DeleteLink) -> object:
        store = self._bus.store
        try:
            match command:
                case PutConfig(name, properties):
                    store.put("configs", name, dict(properties))
                case DeleteConfig(name):
                    store.put("configs", name, None)
                case PutLink(link):
                    for config in (*link.source_config, *link.target_config):
                        if store.get("configs", config)[0] is None:
                            raise ConfigError(f"Configuration {config} not found in config store.")
                    store.put("links", link.source_id, put_link(self._links(link.source_id), link))
                case DeleteLink():
                    id = LinkId(
                        source_id=command.source_id,
                        name=command.name,
                        wit_namespace=command.wit_namespace,
                        wit_package=command.wit_package,
                    )
                    left, _ = remove_link(self._links(command.source_id), id)
                    store.put("links", command.source_id, left or None)
        except TrellisError as error:
            return error
        return None

    def _links(self, source: str) -> tuple[Link, ...]:
        links, _ = self._bus.store.get("links", source)
        return links if isinstance(links, tuple) else ()
