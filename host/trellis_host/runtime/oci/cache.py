"""Blobs on disk by their digest, so that a restart downloads nothing again.

A file is believed only after its digest has been computed again, so that nobody who can write here can change what
runs. What was not used longest leaves when the directory has grown beyond its bound.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["BlobCache", "digest_of"]

MAX_BYTES = 2 * 1024**3
"""What the directory may hold."""


def digest_of(data: bytes, like: str) -> str:
    """The digest of `data` by the algorithm that `like` (`sha256:…`) was made with."""
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class BlobCache:
    """The directory. All methods block; call them from a worker thread. Without a usable disk it holds nothing."""

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    def find(self, digest: str, size: int) -> bytes | None:
        """The blob, if it is here and sound."""
        path = self._path(digest)
        try:
            if path.stat().st_size != size:
                return None
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return data if digest_of(data, digest) == digest else None

    def store(self, digest: str, data: bytes) -> bool:
        """Keeps a blob that has been verified. False if it cannot be kept, which costs time and nothing else."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=self._directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(temporary, self._path(digest))
            except BaseException:
                os.unlink(temporary)
                raise
            self._shrink()
        except OSError:
            return False
        return True

    def _path(self, digest: str) -> Path:
        return self._directory / digest.replace(":", "-")

    def _shrink(self) -> None:
        blobs = []
        for path in self._directory.glob("sha*-*"):
            with contextlib.suppress(OSError):  # another host of this machine may have been faster
                status = path.stat()
                blobs.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in blobs)
        for _, size, path in sorted(blobs):
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
