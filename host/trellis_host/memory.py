"""How much of the memory that this host may use is in use: of the machine's, or of its control group's.

Linux tells it in files. Elsewhere, or where they cannot be read, it is 0.0: unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["MemoryGauge", "group_share", "machine_share"]

_UNLIMITED = 1 << 60
"""Bytes; control groups of version 1 say "no limit" with a number larger than any machine."""
_FRESH = 1.0
"""Seconds for which what was read is believed."""


def machine_share(meminfo: str) -> float:
    """The share (0 to 1) of the machine's memory that is not available, by the text of `/proc/meminfo`."""
    sizes = {name: int(size) for name, size in re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB$", meminfo, re.M)}
    total = sizes.get("MemTotal", 0)
    return _share(total - sizes.get("MemAvailable", total), total)


def group_share(limit: str, used: str, stat: str) -> float:
    """The same of one control group, by the texts of its limit, its usage and its statistics.

    Cached pages of files that nobody uses are free: they go when memory is wanted.
    """
    if not (limit.strip().isdigit() and used.strip().isdigit()) or int(limit) >= _UNLIMITED:
        return 0.0
    idle = re.search(r"^(?:total_)?inactive_file (\d+)$", stat, re.M)
    return _share(int(used) - (int(idle[1]) if idle else 0), int(limit))


def _share(part: int, whole: int) -> float:
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0


class MemoryGauge:
    """Asked with each beat; reads a few files at most once a second. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float], *, root: Path = Path("/")) -> None:
        self._clock = clock
        self._proc = root / "proc"
        self._groups = _groups(root)
        self._read_at = float("-inf")
        self._share = 0.0

    def __call__(self) -> float:
        """The share of the scarcest: the machine's memory, or that of a group that holds this process."""
        now = self._clock()
        if now >= self._read_at + _FRESH:
            self._read_at = now
            shares = [group_share(*(_text(folder / name) for name in names)) for folder, names in self._groups]
            self._share = max([machine_share(_text(self._proc / "meminfo")), *shares])
        return self._share


_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
_V2 = ("memory.max", "memory.current", "memory.stat")


def _groups(root: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    """The folders of this process's control groups, from the innermost to the root of what can be seen."""
    found: list[tuple[Path, tuple[str, str, str]]] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            top, names = root / "sys/fs/cgroup", _V2
        elif "memory" in controllers.split(","):
            top, names = root / "sys/fs/cgroup/memory", _V1
        else:
            continue
        inner = top / path.strip("/")
        # In a container the path may be that of the machine, whose folders are not here: then the top is ours.
        folders = [inner, *inner.parents] if inner.is_relative_to(top) else [top]
        found += [(each, names) for each in folders if each.is_relative_to(top) and (each / names[0]).is_file()]
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
