"""Runs the CLI as a user would."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trellis_cli.main import main

_TIMEOUT = 60


@dataclass(frozen=True)
class Run:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(home: Path, **extra: str) -> dict[str, str]:
    """An environment without anything that the developer has set for trellis."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("TRELLIS_", "NO_COLOR", "OTEL_", "XDG_", "FORCE_"))
    }
    return {**kept, "HOME": str(home), "TERM": "xterm", "COLUMNS": "120", **extra}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "trellis_cli", *arguments]


async def trellis(*arguments: str, home: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Run:
    """Runs `trellis ARGUMENTS` to its end, in a pipe."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(home, **(env or {})),
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), _TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Run(process.returncode, out.decode(), err.decode())


class Session:
    """A `trellis` that keeps running. What it says is remembered; a test waits for what it wants to read."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.err = ""
        self.out = ""
        self._news = asyncio.Event()
        self._readers = [
            asyncio.create_task(self._read(process.stderr, "err")),
            asyncio.create_task(self._read(process.stdout, "out")),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, name: str) -> None:
        assert stream is not None
        while chunk := await stream.read(4096):
            setattr(self, name, getattr(self, name) + chunk.decode())
            self._news.set()
        self._news.set()

    async def until(self, text: str) -> None:
        """Waits until it has said `text`, on either stream."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                while text not in self.err and text not in self.out:
                    assert not all(reader.done() for reader in self._readers), f"{text!r} was not said:\n{self.err}"
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            raise AssertionError(f"{text!r} was not said:\n{self.err}") from None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit status."""
        status = await asyncio.wait_for(self.process.wait(), _TIMEOUT)
        await asyncio.gather(*self._readers)
        assert "Traceback" not in self.err, self.err
        return status


@asynccontextmanager
async def session(*arguments: str, home: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Session]:
    """Runs `trellis ARGUMENTS`; ends it with SIGTERM if the block has not."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(home, **(env or {})),
    )
    running = Session(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await running.ended()


def in_process(*arguments: str, home: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Run:
    """Runs `trellis ARGUMENTS` inside this process, which saves the start of one; for commands that only ask."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(environment(home)):
            patch.delenv(name)
        for name, value in {"HOME": str(home), **(env or {})}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
    assert isinstance(ended.value.code, int)
    return Run(ended.value.code, out.getvalue(), err.getvalue())
