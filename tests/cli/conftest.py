"""What the tests of the CLI share."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from trellis_cli.up.settings import UpSettings
from trellis_cli.up.supervisor import HostState

FAKE_HOST = Path(__file__).parent / "fake_host.py"


@dataclass
class Diary:
    """A watcher that remembers, and lets a test wait for what it wants to see."""

    lines: list[str] = field(default_factory=list)
    hosts: list[HostState] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, text: str) -> None:
        self.lines.append(text)
        self.changed.set()

    def nats(self, url: str, phase: str) -> None:
        self.phases.append(phase)
        self.changed.set()

    def host(self, state: HostState) -> None:
        self.hosts.append(state)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await self.changed.wait()
                self.changed.clear()


@pytest.fixture
def diary() -> Diary:
    return Diary()


def fake_hosts(*behaviours: str) -> Callable[[UpSettings, str, str, Path], list[str]]:
    """A `HostCommand` for hosts with these behaviours."""

    def command(settings: UpSettings, name: str, nats_url: str, listeners: Path) -> list[str]:
        return [sys.executable, str(FAKE_HOST), *behaviours]

    return command
