"""Runs the CLI as a user would."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
