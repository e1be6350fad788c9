"""Which process a process id means: ids are reused, (id, start time) pairs are not."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

__all__ = ["is_running", "send_signal", "start_time"]


def start_time(pid: int) -> str | None:
    """When the process started, as the system writes it; None if it is not running (or is a zombie)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            text = stat.read_text()
        except OSError:
            return None
        # The name in parentheses may hold anything, so count fields from its end: state is the first, 22nd is ours.
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    listing = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5
    )
    return listing.stdout.strip() or None


def is_running(pid: int, started: str) -> bool:
    """Whether the process that had this id at that start time still runs."""
    return start_time(pid) == started


def send_signal(pid: int, started: str, signum: signal.Signals) -> bool:
    """Signals that process and no other; False if it is gone."""
    if not is_running(pid, started):
        return False
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True
