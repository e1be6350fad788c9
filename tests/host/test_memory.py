"""How full the memory is that a host may use, by what Linux says in its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from trellis_host.memory import MemoryGauge, group_share, machine_share

MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    750 kB\n"


@pytest.mark.parametrize(("text", "share"), [(MEMINFO, 0.25), ("", 0.0), ("MemTotal: 1000 kB\n", 0.0)])
def test_of_the_machine(text: str, share: float) -> None:
    assert machine_share(text) == share


@pytest.mark.parametrize(
    ("limit", "used", "stat", "share"),
    [
        ("1000\n", "600\n", "inactive_file 100\nactive_file 50\n", 0.5),
        ("1000\n", "600\n", "total_inactive_file 200\n", 0.4),
        ("1000\n", "2000\n", "", 1.0),
        ("max\n", "600\n", "", 0.0),
        (f"{(1 << 63) - 4096}\n", "600\n", "", 0.0),
        ("", "", "", 0.0),
    ],
)
def test_of_a_control_group(limit: str, used: str, stat: str, share: float) -> None:
    assert group_share(limit, used, stat) == share


def machine(root: Path, groups: dict[str, tuple[int | str, int]], inside: str) -> Path:
    """The files of a machine with these control groups of version 2, and a process in one of them."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/self/cgroup").write_text(f"0::/{inside}\n")
    for path, (limit, used) in groups.items():
        folder = root / "sys/fs/cgroup" / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
    return root


def test_the_scarcest_counts(tmp_path: Path) -> None:
    root = machine(tmp_path, {"a": (1000, 900), "a/b": ("max", 10)}, inside="a/b")
    assert MemoryGauge(lambda: 0.0, root=root)() == 0.9


def test_a_group_of_another_name_space_is_the_top_one(tmp_path: Path) -> None:
    root = machine(tmp_path, {"": (1000, 700)}, inside="../../elsewhere")
    assert MemoryGauge(lambda: 0.0, root=root)() == 0.7


def test_it_is_read_once_a_second(tmp_path: Path) -> None:
    root, now = machine(tmp_path, {"a": (1000, 900)}, inside="a"), 0.0
    gauge = MemoryGauge(lambda: now, root=root)
    assert gauge() == 0.9
    (root / "sys/fs/cgroup/a/memory.current").write_text("500\n")
    now = 0.5
    assert gauge() == 0.9
    now = 1.0
    assert gauge() == 0.5


def test_without_the_files_it_is_unknown(tmp_path: Path) -> None:
    assert MemoryGauge(lambda: 0.0, root=tmp_path)() == 0.0
