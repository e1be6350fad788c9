"""When a command may be tried again. Pure: times are arguments, in seconds of one clock.

A command that was sent is *pending* until the world shows what it asked for, a failure is reported, or its
time is up. Failures wait longer each time; after `limit` of them, or one that is final, the command has failed for
good, until what it asks for changes or somebody forgets the attempt (a new deploy, a host that started anew). What
succeeded is remembered for a while too: if it has to be done again before it has lasted, that counts as a failure,
so that nothing is started, ended and started for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

__all__ = [
    "Attempt",
    "Failed",
    "Policy",
    "Ready",
    "Verdict",
    "Waiting",
    "failed",
    "judge",
    "policy_for",
    "sent",
    "settled",
]


@dataclass(frozen=True, slots=True)
class Policy:
    """`first` seconds after the first failure, doubled up to `cap`, `limit` attempts in all.

    `pending` is how long a command may take whose work goes on after it was acknowledged (a component may have to be
    compiled), `prompt` any other.
    """

    first: float = 0.5
    cap: float = 30.0
    limit: int = 6
    pending: float = 180.0
    prompt: float = 5.0
    lasting: float = 30.0
    """Seconds that what was done must last to count as done."""

    def delay(self, failures: int) -> float:
        return min(self.cap, self.first * 2.0 ** max(0, min(failures, 64) - 1))


def policy_for(command: Any, policy: Policy) -> Policy:
    """The policy with the patience that this command deserves."""
    return policy if getattr(command, "slow", False) else replace(policy, pending=min(policy.prompt, policy.pending))


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a command so far: `at` is when it was last sent or failed."""

    command: Any
    failures: int
    at: float
    pending: bool
    error: str | None = None
    since: float = 0.0
    settled: bool = False
    """It succeeded at `at`; whether it lasts is to be seen."""
    final: bool = False
    """It failed for a reason that trying again cannot change."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Send it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Do not send it before `until`."""

    until: float
    reason: str
    since: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Do not send it again."""

    reason: str
    since: float


Verdict = Ready | Waiting | Failed


def judge(attempt: Attempt | None, command: Any, now: float, policy: Policy) -> Verdict:
    """Whether `command` may be sent now, given what became of the last one with its key."""
    if attempt is None or attempt.command != command:
        return Ready()
    if attempt.pending:
        if now < attempt.at + policy.pending:
            return Waiting(attempt.at + policy.pending, "in progress", attempt.since)
        attempt = failed(attempt, f"nothing happened within {policy.pending:g} s", attempt.at + policy.pending)
    if attempt.final:
        return Failed(str(attempt.error), attempt.since)
    if attempt.failures >= policy.limit:
        return Failed(f"{attempt.error} (after {attempt.failures} attempts)", attempt.since)
    until = attempt.at + policy.delay(attempt.failures)
    if now < until:
        reason = f"attempt {attempt.failures} of {policy.limit} failed"
        return Waiting(until, reason, attempt.since, attempt.error)
    return Ready()


def sent(attempt: Attempt | None, command: Any, now: float, policy: Policy) -> Attempt:
    """The attempt after sending `command`; a command that differs from the last one starts counting anew."""
    if attempt is None or attempt.command != command:
        return Attempt(command, 0, now, True, None, now)
    if attempt.pending:
        attempt = failed(attempt, f"nothing happened within {policy.pending:g} s", now)
    return Attempt(command, attempt.failures, now, True, attempt.error, attempt.since)


def settled(attempt: Attempt, now: float) -> Attempt:
    """The attempt after the world showed what it asked for: should it be needed again soon, it did not last."""
    error = "it was done, but did not last"
    return Attempt(attempt.command, attempt.failures + 1, now, False, error, now, settled=True)


def failed(attempt: Attempt, error: str, now: float, *, final: bool = False) -> Attempt:
    """The attempt after a failure was reported; `final` if it will fail in the same way for ever."""
    return Attempt(attempt.command, attempt.failures + 1, now, False, error, attempt.since, final=final)
