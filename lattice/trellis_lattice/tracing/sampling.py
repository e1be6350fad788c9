"""Which new traces are recorded: all of them while they are few, a sample when they are many.

Pure but for the clock, which is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

__all__ = ["BudgetSampler", "TokenBucket", "default_sampler"]

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
        if self._last is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class BudgetSampler(Sampler):
    """Every trace up to `rate` new ones per second, above that the share `overflow`."""

    def __init__(
        self,
        clock: Callable[[], float],
        rate: float = NEW_TRACES_PER_SECOND,
        overflow: float = OVERFLOW_RATIO,
    ) -> None:
        self._clock = clock
        self._bucket = TokenBucket(rate, rate)
        self._rate = rate
        self._overflow = TraceIdRatioBased(overflow)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if self._bucket.take(self._clock()):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._overflow.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"BudgetSampler{{{self._rate:g}/s,{self._overflow.get_description()}}}"


def default_sampler(clock: Callable[[], float]) -> Sampler:
    """New traces by budget; a trace that comes from elsewhere as its origin decided."""
    return ParentBased(BudgetSampler(clock))
