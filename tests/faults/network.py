"""Machines of a fault campaign: network namespaces on one bridge, and what breaks the wires between them.

Everything happens inside a network namespace of the campaign's own, so that nothing of the machine's network is
touched and nothing is left when the campaign ends. Needs root, `ip`, `tc` and `nft`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

__all__ = ["Machine", "Network", "enter", "why_not"]

_INSIDE = "TRELLIS_FAULTS_INSIDE"
_SUBNET = "198.18.0"
"""RFC 2544: set aside for benchmarks of networks."""


def why_not() -> str | None:
    """What keeps this machine from having namespaces, in a sentence; None: nothing."""
    if sys.platform != "linux":
        return "The fault campaign needs Linux: it makes network namespaces."
    if os.geteuid() != 0:
        return "The fault campaign makes network namespaces and so needs root: run it as `sudo make faults`."
    packages = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "unshare": "util-linux"}
    missing = [tool for tool in packages if shutil.which(tool) is None]
    if missing:
        wanted = " ".join(sorted({packages[tool] for tool in missing}))
        return f"The fault campaign needs {', '.join(missing)}: install it with `apt-get install {wanted}`."
    return None


def enter(arguments: Sequence[str]) -> None:
    """Becomes the same campaign inside a network namespace of its own, unless this is it. Ends with 1 if refused."""
    if os.environ.get(_INSIDE):
        return
    os.environ[_INSIDE] = "1"
    command = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "tests.faults", *arguments]
    os.execvp(command[0], command)


async def run(*command: str, text: str = "") -> str:
    """The output of a tool. Raises RuntimeError with what it said."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    output, errors = await process.communicate(text.encode())
    if process.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed: {errors.decode().strip()}")
    return output.decode()


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace with an address on the bridge. `prefix` starts a command there."""

    name: str
    address: str
    namespace: str = ""

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace] if self.namespace else []

    async def cut(self) -> None:
        """Its cable is pulled: both ways, and nobody is told."""
        await run("ip", "link", "set", f"v{self.name}", "down")

    async def mend(self) -> None:
        await run("ip", "link", "set", f"v{self.name}", "up")

    async def drop(self, *, incoming: str = "", outgoing: str = "") -> None:
        """Drops packets that match an nft expression (`numgen random mod 100 < 3`, `meta l4proto tcp`)."""
        rules = "add table inet faults\nflush table inet faults\n"
        for hook, match in (("input", incoming), ("output", outgoing)):
            rules += f"add chain inet faults {hook} {{ type filter hook {hook} priority 0; }}\n"
            if match:
                rules += (
                    f"add rule inet faults {hook} iifname != lo {match} drop\n"
                    if hook == "input"
                    else (f"add rule inet faults {hook} oifname != lo {match} drop\n")
                )
        await run(*self.prefix, "nft", "-f", "-", text=rules)

    async def pass_all(self) -> None:
        await run(*self.prefix, "nft", "delete", "table", "inet", "faults")

    async def throttle(self, rate: str) -> None:
        """What it sends goes out at `rate` (`tc` words: `512kbit`)."""
        await run(
            *self.prefix, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate,
            "burst", "16kb", "latency", "400ms",
        )  # fmt: skip

    async def unthrottle(self) -> None:
        await run(*self.prefix, "tc", "qdisc", "del", "dev", "eth0", "root")


@dataclass(slots=True)
class Network:
    """A bridge and the machines on it: an `async with` block. Without `real` all machines are this one, on loopback."""

    real: bool
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def gateway(self) -> str:
        """The address of the campaign itself."""
        return f"{_SUBNET}.1" if self.real else "127.0.0.1"

    async def __aenter__(self) -> Network:
        if self.real:
            await run("ip", "link", "set", "lo", "up")
            await run("mount", "-t", "tmpfs", "tmpfs", _run_netns())
            await run("ip", "link", "add", "br0", "type", "bridge")
            await run("ip", "address", "add", f"{_SUBNET}.1/24", "dev", "br0")
            await run("ip", "link", "set", "br0", "up")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.real:
            for machine in self.machines.values():
                # The cable first: a namespace that is deleted takes its end away at a time of its own.
                for command in (("ip", "link", "del", f"v{machine.name}"), ("ip", "netns", "del", machine.namespace)):
                    with suppress(RuntimeError):
                        await run(*command)
            await run("ip", "link", "del", "br0")
            await run("umount", _run_netns())

    async def machine(self, name: str) -> Machine:
        """The machine of that name, made if need be. `name`: at most 8 letters and digits."""
        if name in self.machines:
            return self.machines[name]
        if not self.real:
            self.machines[name] = Machine(name, "127.0.0.1")
            return self.machines[name]
        machine = Machine(name, f"{_SUBNET}.{10 + len(self.machines)}", f"trellis-{name}")
        space = machine.namespace
        await run("ip", "netns", "add", space)
        self.machines[name] = machine
        await run("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", space)
        await run("ip", "link", "set", f"v{name}", "master", "br0", "up")
        await run("ip", "-n", space, "address", "add", f"{machine.address}/24", "dev", "eth0")
        await run("ip", "-n", space, "link", "set", "eth0", "up")
        await run("ip", "-n", space, "link", "set", "lo", "up")
        return machine


def _run_netns() -> str:
    folder = "/run/netns"
    os.makedirs(folder, exist_ok=True)
    return folder
