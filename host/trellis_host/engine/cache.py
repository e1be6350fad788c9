"""Compiled code on disk, so that a restart does not compile again.

A file is native code: it is loaded only if this user alone can write it and its directory, and if its checksum,
which is part of its name, is right. The rest of the name is what the code depends on: digest of the component,
version of wasmtime, settings of the engine, target. A file that does not fit is removed and the component compiled
again.
"""

from __future__ import annotations

import contextlib
import os
import platform
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from trellis_lattice.errors import ConfigError

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

__all__ = ["CodeCache"]


class CodeCache:
    """The directory of compiled code. All methods block; call them from a worker thread."""

    def __init__(self, directory: Path, wasmtime_version: str, settings: str) -> None:
        self._directory = directory
        self._suffix = f"{wasmtime_version}-{settings}-{sys.platform}-{platform.machine()}"

    def find(self, digest: str) -> Path | None:
        """The file to map for a component, if there is a sound one."""
        if not self._trusted_directory():
            return None
        for path in sorted(self._directory.glob(f"{digest}-{self._suffix}.*.cwasm")):
            if self._sound(path):
                return path
            self.discard(path)
        return None

    def store(self, digest: str, code: bytes) -> Path:
        """Writes compiled code, all or nothing, and gives its path. Raises `ConfigError` where that cannot be."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._trusted_directory():
                raise ConfigError(
                    f"The directory for compiled code, {self._directory}, can be written by others.",
                    remedy=f"Make it yours alone: chmod 700 {self._directory}",
                    key="cache_dir",
                    value=str(self._directory),
                )
            target = self._directory / f"{digest}-{self._suffix}.{zlib.crc32(code):08x}.cwasm"
            handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=self._directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(code)
                os.replace(temporary, target)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise ConfigError(
                f"Compiled code cannot be kept in {self._directory}: {error.strerror}.",
                remedy="Give a directory that this user can write.",
                key="cache_dir",
                value=str(self._directory),
            ) from None
        return target

    @contextlib.contextmanager
    def alone(self, digest: str) -> Iterator[None]:
        """Keeps other processes from compiling the same component meanwhile; waits while one of them does.

        Where that cannot be (no locks here, no directory yet) both compile, which costs time and nothing else.
        """
        if fcntl is None:
            yield
            return
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = held.enter_context((self._directory / f".{digest}.lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def discard(self, path: Path) -> None:
        """Removes a file that turned out to be unusable."""
        path.unlink(missing_ok=True)

    def _trusted_directory(self) -> bool:
        try:
            return _ours_alone(self._directory.stat())
        except OSError:
            return False

    def _sound(self, path: Path) -> bool:
        try:
            if not _ours_alone(path.lstat()) or not path.is_file():
                return False
            checksum = 0
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    checksum = zlib.crc32(block, checksum)
        except OSError:
            return False
        return path.name.endswith(f".{checksum:08x}.cwasm")


def _ours_alone(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
