"""A host's log: one line for each record, on standard error."""

from __future__ import annotations

import logging
import os
import sys

from trellis_lattice.errors import ConfigError

__all__ = ["start_logging"]

_LEVELS = ("debug", "info", "warning", "error")


def start_logging() -> None:
    """Sends every record to standard error, with its trace id where there is one.

    The level is `TRELLIS_LOG` (default `info`). Raises `ConfigError` if that is no level.
    """
    from trellis_lattice.tracing import TraceIds

    level = os.environ.get("TRELLIS_LOG", "info").lower()
    if level not in _LEVELS:
        raise ConfigError(
            f"TRELLIS_LOG is {level!r}, which is no level.",
            remedy=f"Use one of {', '.join(_LEVELS)}.",
            key="TRELLIS_LOG",
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(TraceIds())
    handler.setFormatter(_Line())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("nats", "asyncio", "httpx", "opentelemetry", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))


class _Line(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO trellis.host: text [trace 4bf9…]`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        from time import gmtime, strftime

        return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(record.created))}.{int(record.msecs):03d}Z"

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        trace_id = getattr(record, "trace_id", "")
        return f"{text} [trace {trace_id}]" if trace_id else text
