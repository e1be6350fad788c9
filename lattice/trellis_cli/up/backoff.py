"""When a child that died is started again."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RestartPolicy"]


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Pauses double from `first` to `longest` seconds; who has run for `settled` seconds starts from the beginning.

    After `attempts` failures in a row the child stays down.
    """

    first: float = 0.2
    longest: float = 10.0
    settled: float = 30.0
    attempts: int = 8

    def failures(self, before: int, ran: float) -> int:
        """Failures in a row, now that a child ended which had run for `ran` seconds."""
        return 1 if ran >= self.settled else before + 1

    def pause(self, failures: int) -> float | None:
        """Seconds until the next start after this many failures in a row; None: no more attempts."""
        if failures > self.attempts:
            return None
        return min(self.longest, self.first * 2.0 ** (failures - 1))
