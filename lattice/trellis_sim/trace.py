"""What happened, in lines that are only written when somebody wants to read them."""

from __future__ import annotations

from collections import deque

__all__ = ["Trace"]


class Trace:
    """The last events of a run, or all of them. Equal runs give equal texts, byte by byte."""

    def __init__(self, keep: int | None = 200) -> None:
        """`keep`: how many of the last; None: all."""
        self._events: deque[tuple[float, str, str, str]] = deque(maxlen=keep)

    def add(self, time: float, who: str, what: str, about: str = "") -> None:
        """`who` did or met `what`."""
        self._events.append((time, who, what, about))

    def lines(self, last: int | None = None) -> list[str]:
        events = list(self._events)
        return [f"{time:9.4f}  {who:<8} {what} {about}".rstrip() for time, who, what, about in events[-(last or 0) :]]
