"""What an executed call's failure is to its caller, and to the log of its host."""

from __future__ import annotations

import logging

from trellis_lattice.errors import InvocationFailed, TrellisError
from trellis_lattice.invocation.api import Call
from trellis_lattice.tracing import trace_fields

__all__ = ["crashed", "log_failure"]

_log = logging.getLogger("trellis.invocation")


def crashed(target: str, error: Exception) -> InvocationFailed:
    """For an exception that is no error of Trellis."""
    return InvocationFailed(
        f"{target!r} failed: {type(error).__name__}: {error}",
        remedy="Look at the log of its host.",
        component=target,
        trap=type(error).__name__,
    )


def log_failure(call: Call, error: Exception) -> None:
    """Notes it with the trace it belongs to."""
    what = (call.interface, call.function, call.target)
    if isinstance(error, TrellisError):
        _log.warning("%s/%s of %s failed: %s", *what, error.message, extra=trace_fields())
    else:
        _log.error("%s/%s of %s failed", *what, exc_info=error, extra=trace_fields())
