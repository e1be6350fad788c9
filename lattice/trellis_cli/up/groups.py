"""Errors of task groups, as one error."""

from __future__ import annotations

from trellis_lattice.errors import TrellisError

__all__ = ["leading_error"]


def leading_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show: our own first, and never a group."""
    flat: list[BaseException] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending += error.exceptions
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, TrellisError)), flat[0])
