"""Real NATS servers in the shapes that production has, from configuration files, on free ports of this machine."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from trellis_lattice.bus.embedded import find_binary

PATIENCE = 30.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


async def eventually(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.01)


def soon(seconds: float = 20.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@dataclass
class NatsNode:
    """One server: `config` is the text of its configuration file."""

    name: str
    folder: Path
    port: int
    config: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "nats.conf").write_text(self.config)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [find_binary(), "-c", self.folder / "nats.conf"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def end(self, signum: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(signum)
            self.process.wait(10)
            self.process = None

    async def ready(self) -> None:
        await eventually(lambda: "Server is ready" in self.log or self._ended())
        assert not self._ended(), self.log

    def _ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


@asynccontextmanager
async def running(*nodes: NatsNode) -> AsyncIterator[None]:
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            await node.ready()
        yield
    finally:
        for node in nodes:
            node.end()


def single(folder: Path, extra: str = "", *, jetstream: str = "") -> NatsNode:
    """A server on its own; `extra`: more of its configuration."""
    (port,) = free_ports(1)
    inside = f"store_dir: {str(folder / 'js')!r}\n{jetstream}".replace("'", '"')
    return NatsNode("n", folder, port, f'listen: "127.0.0.1:{port}"\njetstream {{\n{inside}\n}}\n{extra}\n')


def cluster_of(folder: Path, template: str, size: int = 3, **values: str) -> list[NatsNode]:
    """A cluster whose nodes are configured as `template` says; see `filled`."""
    ports, routes = free_ports(size), free_ports(size)
    nodes = []
    for number, (port, route) in enumerate(zip(ports, routes, strict=True), 1):
        name = f"nats-{number}"
        text = filled(
            template,
            {
                "server_name: nats-1": f"server_name: {name}",
                "0.0.0.0:4222": f"127.0.0.1:{port}",
                "0.0.0.0:6222": f"127.0.0.1:{route}",
                "/var/lib/nats": str(folder / name / "js"),
                **{f"nats-route://nats-{n}:6222": f"nats-route://127.0.0.1:{p}" for n, p in enumerate(routes, 1)},
                **values,
            },
        )
        nodes.append(NatsNode(name, folder / name, port, text))
    return nodes


def filled(template: str, values: Mapping[str, str]) -> str:
    """A configuration from the documentation, with the addresses and folders of a test."""
    for old, new in values.items():
        assert old in template or not old.startswith("server_name"), f"{old} is not in the documented configuration"
        template = template.replace(old, new)
    return template


def is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
