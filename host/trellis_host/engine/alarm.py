"""An alarm that one thread sets and puts off, cheaply, and another waits for.

Linux has it as a file descriptor (timerfd_create(2)); putting it off wakes nobody. Elsewhere a condition does the
same, a little dearer.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from typing import Protocol

__all__ = ["Alarm", "ConditionAlarm", "TimerAlarm", "make_alarm"]


class Alarm(Protocol):
    def set(self, seconds: float) -> None:
        """It goes off once, that long from now, instead of when it would have."""

    def wait(self) -> None:
        """Returns when it goes off."""

    def close(self) -> None:
        """Nobody waits any more."""


def make_alarm() -> Alarm:
    return TimerAlarm() if sys.platform == "linux" else ConditionAlarm()


class TimerAlarm:
    """timerfd: setting it is one system call."""

    _libc = ctypes.PyDLL(None, use_errno=True)

    def __init__(self) -> None:
        self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_create: {os.strerror(number)}")
        self._spec = (ctypes.c_long * 4)()
        self._address = ctypes.c_void_p(ctypes.addressof(self._spec))
        self._settime = self._libc.timerfd_settime

    def set(self, seconds: float) -> None:
        # struct itimerspec: interval (none), then the time to go, as seconds and nanoseconds.
        whole = int(seconds)
        self._spec[2] = whole
        self._spec[3] = max(1, int((seconds - whole) * 1e9))
        self._settime(self._fd, 0, self._address, None)

    def wait(self) -> None:
        os.read(self._fd, 8)

    def close(self) -> None:
        os.close(self._fd)


class ConditionAlarm:
    """Of what Python has everywhere. Putting it off wakes nobody; the waiter wakes at the old time and goes on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at: float | None = None

    def set(self, seconds: float) -> None:
        with self._changed:
            before, self._at = self._at, time.monotonic() + seconds
            if before is None or self._at < before:
                self._changed.notify()

    def wait(self) -> None:
        with self._changed:
            while self._at is None or (left := self._at - time.monotonic()) > 0:
                self._changed.wait(None if self._at is None else left)
            self._at = None

    def close(self) -> None:
        pass
