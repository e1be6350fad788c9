"""Exit codes of `trellis`, the same for every command (docs/cli.md)."""

from __future__ import annotations

import enum

from trellis_lattice.errors import DeadlineExceeded, Denied, NotFound, TrellisError, Unavailable

__all__ = ["ExitCode", "exit_code"]


class ExitCode(enum.IntEnum):
    """What the shell learns."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMED_OUT = 4
    """The time is over and the outcome is open: still reconciling, or no answer yet."""
    NO_LATTICE = 5
    """NATS cannot be reached, or nobody in the lattice answers."""
    DENIED = 6
    PARTIAL = 7
    """Some of what was asked for runs, some cannot be placed."""
    CHANGES = 8
    INTERRUPTED = 130


def exit_code(error: TrellisError) -> ExitCode:
    """The code of an error that ends a command."""
    match error:
        case NotFound():
            return ExitCode.NOT_FOUND
        case DeadlineExceeded():
            return ExitCode.TIMED_OUT
        case Unavailable():
            # The lattice is there, only its storage is full.
            full = error.fields.get("reason") == "storage-full"
            return ExitCode.FAILED if error.maybe_executed or full else ExitCode.NO_LATTICE
        case Denied():
            return ExitCode.DENIED
        case _:
            return ExitCode.FAILED
