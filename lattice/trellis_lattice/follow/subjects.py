"""Subjects of what hosts tell (docs/protocol.md, "Logs, events and calls"). Pure.

trellis.v1.<lattice>.recent.<kind>   recent log records or events; every host answers
trellis.v1.<lattice>.follow.<kind>   a follower's lease, again and again; hosts send batches to its reply subject
"""

from __future__ import annotations

from trellis_lattice.subjects import check_lattice, check_token

__all__ = ["CALLS", "EVENTS", "LOGS", "follow", "recent"]

LOGS = "logs"
EVENTS = "events"
CALLS = "calls"


def recent(lattice: str, kind: str) -> str:
    """Where recent records of a kind are asked for."""
    return f"trellis.v1.{check_lattice(lattice)}.recent.{check_token(kind)}"


def follow(lattice: str, kind: str) -> str:
    """Where followers say that they are there, and what they want to hear."""
    return f"trellis.v1.{check_lattice(lattice)}.follow.{check_token(kind)}"
