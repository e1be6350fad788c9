"""What a NATS server did not permit us. Pure."""

from __future__ import annotations

__all__ = ["Refusals"]

_LIMIT = 256
"""Different subjects that are remembered; those of single calls would be without end."""


class Refusals:
    """Every (`publish` or `subscription`, subject) once, in the order of their first refusal."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], None] = {}

    def add(self, what: str, subject: str) -> bool:
        """Whether this is news; never, once there are too many."""
        new = (what, subject) not in self._seen and len(self._seen) < _LIMIT
        if new:
            self._seen[what, subject] = None
        return new

    @property
    def all(self) -> list[tuple[str, str]]:
        return list(self._seen)

    def of(self, what: str) -> list[str]:
        """The subjects that were refused for `publish` or `subscription`."""
        return [subject for kind, subject in self._seen if kind == what]
