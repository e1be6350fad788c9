"""Answers that never change, made once."""

from __future__ import annotations

from typing import Any, Final

from trellis_lattice.wit.values import Case, Err, Ok

__all__ = ["CHUNK", "CLOSED", "FAILED", "NOTHING", "OK"]

OK: Final[Ok[Any]] = Ok(None)
FAILED: Final[Err[Any]] = Err(None)
"""The `err` of a result without payload."""
CLOSED: Final[Err[Any]] = Err(Case("closed"))
"""`stream-error.closed`."""
NOTHING: Final[Ok[bytes]] = Ok(b"")
CHUNK: Final = 16 * 1024
"""Most bytes that go to or from a component in one call: a `list<u8>` costs about 60 µs per KiB, not preemptible."""
