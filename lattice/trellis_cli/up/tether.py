"""Becomes another program that ends when the process that started it ends, however that ends.

Run as a script (`python tether.py PARENT PROGRAM ARGUMENTS…`), so that nothing of Trellis is imported. On Linux
the kernel sends SIGTERM when the parent dies; elsewhere there is no such thing, and whoever starts next on the
same data directory ends what was left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["launcher"]

_PR_SET_PDEATHSIG = 1


def launcher() -> list[str]:
    """The command to put before a program's, for a child of this process and of this thread."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid())]


def _main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)  # it died before the kernel was asked
    os.execv(program[0], program)


if __name__ == "__main__":
    _main()
