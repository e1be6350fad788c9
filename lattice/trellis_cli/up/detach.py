"""`trellis up --detach`: the same supervisor in a session of its own; this process waits until it is ready."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trellis_lattice.errors import TrellisError, Unavailable, from_wire

__all__ = ["start_detached"]


def start_detached(arguments: Sequence[str], data_dir: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Starts `trellis up ARGUMENTS` in the background, in that environment, and returns its answer once it is ready.

    Raises the error that ended it instead. Interrupting this ends the background process, too.
    """
    log = data_dir / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trellis_cli", "-o", "jsonl", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            env={**environ, "NO_COLOR": "1"},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    process.stdout.close()
    answer = _decode(line)
    if answer is None:
        raise Unavailable(
            f"`trellis up` ended in the background (status {process.wait()}) before it was ready.",
            remedy=f"Its log is {log}.",
        )
    if not answer.get("success"):
        process.wait()
        raise _error(answer)
    # It runs on without us: say so to Popen, which would otherwise warn about a child that still runs.
    process.returncode = 0
    return answer


def _decode(line: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _error(answer: Mapping[str, Any]) -> TrellisError:
    wire = {"code": answer.get("code"), "message": answer.get("error"), "remedy": answer.get("remedy")}
    return from_wire({**wire, "fields": answer.get("fields", {})})
