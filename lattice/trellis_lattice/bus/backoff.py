"""How long to wait before trying again. Pure."""

from __future__ import annotations

__all__ = ["reconnect_delay"]

_FIRST = 0.05
_LONGEST = 1.0


def reconnect_delay(failures: int, spread: float) -> float:
    """Seconds to wait after that many failures in a row: 0.05 doubling to 1, shifted by up to a quarter.

    `spread` between 0 and 1 keeps many hosts from coming back in the same instant.
    """
    return float(min(_LONGEST, _FIRST * 2 ** min(failures, 10)) * (1 + 0.25 * spread))
