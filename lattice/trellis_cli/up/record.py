"""What `trellis up` writes down about itself, and the lock that makes it the only one of its data directory.

`up.json` names every process by id and start time, so that `trellis down`, and the next `trellis up`, end these
and no others. It is written before a process is used and removed when all have ended; `up.lock` is held as
long as the supervisor lives.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from trellis_lattice.bus.processes import is_running, start_time
from trellis_lattice.errors import ConfigError, Conflict

__all__ = ["DataDirLock", "HostRecord", "Process", "UpRecord", "decode", "encode", "forget", "load", "running", "save"]

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Process:
    """One process, beyond doubt."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(pid, start_time(pid) or "")

    @property
    def alive(self) -> bool:
        return bool(self.started) and is_running(self.pid, self.started)


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host that was started. `id` and `friendly_name` are empty until it is ready."""

    name: str
    process: Process
    id: str = ""
    friendly_name: str = ""


@dataclass(frozen=True, slots=True)
class UpRecord:
    """`state`: `starting`, `running` or `stopping`. `nats_url` is empty until NATS answers."""

    supervisor: Process
    lattice: str
    state: str = "starting"
    nats_url: str = ""
    embedded_nats: bool = True
    hosts: tuple[HostRecord, ...] = field(default=())

    def with_host(self, host: HostRecord) -> UpRecord:
        """The record with this host in place of the one of the same name."""
        others = [h for h in self.hosts if h.name != host.name]
        return replace(self, hosts=tuple(sorted([*others, host], key=lambda h: h.name)))


def encode(record: UpRecord) -> str:
    """The text of `up.json`."""
    return json.dumps({"version": _VERSION, **asdict(record)}, indent=2) + "\n"


def decode(text: str) -> UpRecord | None:
    """The record; None if the text is not one of this version."""
    try:
        data = json.loads(text)
        if data["version"] != _VERSION:
            return None
        return UpRecord(
            supervisor=_process(data["supervisor"]),
            lattice=str(data["lattice"]),
            state=str(data["state"]),
            nats_url=str(data["nats_url"]),
            embedded_nats=bool(data["embedded_nats"]),
            hosts=tuple(
                HostRecord(str(h["name"]), _process(h["process"]), str(h["id"]), str(h["friendly_name"]))
                for h in data["hosts"]
            ),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _process(data: Mapping[str, Any]) -> Process:
    return Process(int(data["pid"]), str(data["started"]))


def load(data_dir: Path) -> UpRecord | None:
    """What is recorded in this data directory, whether or not it still runs."""
    try:
        return decode((data_dir / "up.json").read_text())
    except OSError:
        return None


def running(data_dir: Path) -> UpRecord | None:
    """The record of the supervisor that runs on this data directory at the moment."""
    record = load(data_dir)
    return record if record is not None and record.supervisor.alive else None


def save(data_dir: Path, record: UpRecord) -> None:
    """Replaces the record, atomically."""
    fresh = data_dir / "up.json.new"
    fresh.write_text(encode(record))
    fresh.replace(data_dir / "up.json")


def forget(data_dir: Path) -> None:
    """Nothing runs any more."""
    (data_dir / "up.json").unlink(missing_ok=True)


class DataDirLock:
    """Makes this process the only supervisor of the directory, until `release` or its end."""

    def __init__(self, data_dir: Path) -> None:
        """Raises `Conflict` naming the one that runs, `ConfigError` if the directory cannot be used."""
        self._file = _open(data_dir)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise _taken(data_dir) from None

    def release(self) -> None:
        """Idempotent."""
        self._file.close()

    @staticmethod
    def held(data_dir: Path) -> bool:
        """Whether somebody has the lock now."""
        if not (data_dir / "up.lock").exists():
            return False
        with _open(data_dir) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _open(data_dir: Path) -> IO[str]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return (data_dir / "up.lock").open("a")
    except OSError as error:
        raise ConfigError(
            f"The data directory {data_dir} cannot be used: {os.strerror(error.errno or 0)}.",
            remedy="Name a writable directory with --data-dir.",
        ) from error


def _taken(data_dir: Path) -> Conflict:
    record = load(data_dir)
    where = f" (process {record.supervisor.pid}, NATS {record.nats_url or 'not up yet'})" if record else ""
    return Conflict(
        f"`trellis up` runs already on the data directory {data_dir}{where}.",
        remedy="Stop it with `trellis down`, or give the other one its own --data-dir.",
        pid=record.supervisor.pid if record else None,
    )
