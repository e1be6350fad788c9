"""A world for one invocation, where everything is seen and nothing is left to chance."""

from __future__ import annotations

import asyncio
from typing import Any

from trellis_host.wasi import LogRecord, WasiContext, WasiSettings, wasi_interfaces

FUNCTIONS = {
    (interface.name.unversioned, name): function.call
    for interface in wasi_interfaces()
    for name, function in interface.functions.items()
}


class World:
    """A context and what became of its log."""

    def __init__(self, owner: asyncio.TaskGroup | None = None, deadline: float = 10.0, **settings: Any) -> None:
        self.records: list[LogRecord] = []
        self.settings = WasiSettings("subject", self.records.append, owner=owner, **settings)
        self.context = WasiContext(self.settings, deadline)

    def call(self, interface: str, function: str, *args: Any) -> Any:
        """What the host function answers: a value, or an awaitable where it has to wait."""
        return FUNCTIONS[interface, function](self.context, *args)

    def http(self, function: str, *args: Any) -> Any:
        return self.call("wasi:http/types", function, *args)

    def stream(self, function: str, *args: Any) -> Any:
        return self.call("wasi:io/streams", function, *args)

    @property
    def lines(self) -> list[str]:
        return [record.message for record in self.records]


async def finished(answer: Any) -> Any:
    """The answer of a function that may wait."""
    return await answer if asyncio.iscoroutine(answer) else answer
