"""Whether a failed call is sent again, and when. Pure.

A call is sent again only if it certainly did not start (nobody listened, every slot was taken, the host was
draining, the connection was never made), or if its manifest says `idempotent: true` and it was lost on the
way. Both only while attempts and the caller's deadline last. A call on a resource is never sent again after
its owner is gone: the resource went with it.

A target that answered before and has nobody now is about to run elsewhere: its host died, or it is being moved.
Calls of it wait for that, `patience` seconds instead of a number of attempts.
"""

from __future__ import annotations

from dataclasses import dataclass

from trellis_lattice.errors import Overloaded, TrellisError, Unavailable

__all__ = ["DEFAULT_RETRY", "RetryPolicy", "certainly_not_started", "delay_before_retry", "is_absence"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` in all; the n-th wait is `first * factor**n`, at most `ceiling`, in seconds, jittered downwards."""

    attempts: int = 4
    first: float = 0.02
    factor: float = 3.0
    ceiling: float = 0.25
    patience: float = 4.0
    """Seconds for which calls of a target wait that answered before and has nobody now."""
    spread: float = 0.001
    """Seconds that each call that waits so adds to the waits of all, so that many together ask no more than few."""
    longest: float = 1.0
    """Seconds between two attempts at most, however many wait."""


DEFAULT_RETRY = RetryPolicy()


def certainly_not_started(error: TrellisError) -> bool:
    """Whether the call that failed with `error` had no effect at all."""
    return isinstance(error, Unavailable | Overloaded) and not error.fields.get("maybe_executed")


def is_absence(error: TrellisError) -> bool:
    """Whether NATS said that nobody listens for the target."""
    return isinstance(error, Unavailable) and error.fields.get("reason") == "no-answerer"


def delay_before_retry(
    error: TrellisError,
    *,
    attempt: int,
    idempotent: bool,
    on_instance: bool,
    remaining: float,
    jitter: float,
    known: bool = False,
    waited: float = 0.0,
    crowd: int = 0,
    policy: RetryPolicy = DEFAULT_RETRY,
) -> float | None:
    """Seconds to wait before the call is sent again; None: it is not.

    `attempt` counts from 1, `remaining` is in seconds until the deadline, `jitter` is uniform in [0, 1).
    `known`: the target has answered before; `waited`: seconds since the first attempt; `crowd`: calls that are
    waiting for their next attempt.
    """
    moving = known and is_absence(error) and waited < policy.patience
    if attempt >= policy.attempts and not moving:
        return None
    lost = isinstance(error, Unavailable)
    if not (certainly_not_started(error) or (idempotent and lost)):
        return None
    if on_instance and lost:
        return None
    # The exponent is bounded: a power that overflows would be an error.
    delay = min(policy.ceiling, policy.first * policy.factor ** min(attempt - 1, 32))
    if moving:
        delay = min(policy.longest, max(delay, crowd * policy.spread))
    delay *= 1.0 - jitter / 2
    return delay if delay < remaining else None
