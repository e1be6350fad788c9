"""Which new traces are recorded: all of them while they are few, a sample when they are many.

Pure but for the clock and the chance, which are given.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TokenBucket", "TraceBudget"]

NEW_TRACES_PER_SECOND = 50.0
OVERFLOW_RATIO = 0.01


class TokenBucket:
    """`rate` tokens per second, at most `burst` saved up. It starts full."""

    __slots__ = ("_burst", "_last", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._last: float | None = None

    def take(self, now: float) -> bool:
        """Whether there was a token at `now` (seconds; does not go back)."""
        last = self._last
        if last is not None and now > last:
            tokens = self._tokens + (now - last) * self._rate
            self._tokens = tokens if tokens < self._burst else self._burst
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class TraceBudget:
    """Every trace up to `rate` new ones per second, above that the share `overflow`.

    It is asked before a span is made, not by the SDK as a sampler: most requests of a busy host are not recorded,
    and what the SDK does before it asks costs more than everything else about tracing.
    `chance` gives numbers evenly spread over [0, 1).
    """

    __slots__ = ("_bucket", "_chance", "_clock", "_overflow")

    def __init__(
        self,
        clock: Callable[[], float],
        chance: Callable[[], float],
        rate: float = NEW_TRACES_PER_SECOND,
        overflow: float = OVERFLOW_RATIO,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._bucket = TokenBucket(rate, rate)
        self._overflow = overflow

    def admits(self) -> bool:
        """Whether the trace that now begins is recorded."""
        return self._bucket.take(self._clock()) or self._chance() < self._overflow
