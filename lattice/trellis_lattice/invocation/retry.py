"""Whether a failed call is sent again, and when. Pure.

A call is sent again only if it certainly did not start (nobody listened, every slot was taken, the host was
draining, the connection was never made), or if its manifest says `idempotent: true` and it was lost on the
way. Both only while attempts and the caller's deadline last. A call on a resource is never sent again after
its owner is gone: the resource went with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from trellis_lattice.errors import Overloaded, TrellisError, Unavailable

__all__ = ["DEFAULT_RETRY", "RetryPolicy", "certainly_not_started", "delay_before_retry"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` in all; the n-th wait is `first * factor**n`, at most `ceiling`, in seconds, jittered downwards."""

    attempts: int = 4
    first: float = 0.02
    factor: float = 3.0
    ceiling: float = 0.5


DEFAULT_RETRY = RetryPolicy()


def certainly_not_started(error: TrellisError) -> bool:
    """Whether the call that failed with `error` had no effect at all."""
    return isinstance(error, Unavailable | Overloaded) and not error.fields.get("maybe_executed")


def delay_before_retry(
    error: TrellisError,
    *,
    attempt: int,
    idempotent: bool,
    on_instance: bool,
    remaining: float,
    jitter: float,
    policy: RetryPolicy = DEFAULT_RETRY,
) -> float | None:
    """Seconds to wait before the call is sent again; None: it is not.

    `attempt` counts from 1, `remaining` is in seconds until the deadline, `jitter` is uniform in [0, 1).
    """
    if attempt >= policy.attempts:
        return None
    lost = isinstance(error, Unavailable)
    if not (certainly_not_started(error) or (idempotent and lost)):
        return None
    if on_instance and lost:
        return None
    delay = min(policy.ceiling, policy.first * policy.factor ** (attempt - 1)) * (1.0 - jitter / 2)
    return delay if delay < remaining else None
