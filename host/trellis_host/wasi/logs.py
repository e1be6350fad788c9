"""A component's output as log records.

The laws of this file: a component cannot flood the host. A line is cut at `MAX_LINE` bytes; after `MAX_RECORDS`
records or `MAX_BYTES` bytes in one invocation the rest is counted, and one last record says how much is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["MAX_BYTES", "MAX_LINE", "MAX_RECORDS", "ComponentLog", "LineWriter", "LogRecord"]

MAX_LINE = 4096
"""Bytes of one line; longer ones are cut and marked."""
MAX_RECORDS = 1000
"""Records of one invocation."""
MAX_BYTES = 256 * 1024
"""Bytes of all records of one invocation."""


class LogRecord(NamedTuple):
    """One line of a component. `level`: as in `wasi:logging`; `source`: `stdout`, `stderr`, or the logging context."""

    component: str
    level: str
    source: str
    message: str


class ComponentLog:
    """The log of one invocation."""

    __slots__ = ("_bytes", "_dropped", "_records", "_sink", "_writers", "component")

    def __init__(self, component: str, sink: Callable[[LogRecord], None]) -> None:
        self.component = component
        self._sink = sink
        self._records = 0
        self._bytes = 0
        self._dropped = 0
        self._writers: dict[str, LineWriter] = {}

    @property
    def exhausted(self) -> bool:
        """Whether everything that follows is only counted."""
        return self._records >= MAX_RECORDS or self._bytes >= MAX_BYTES

    def emit(self, level: str, source: str, message: str) -> None:
        """One record, if the budget allows it."""
        if self.exhausted:
            self._dropped += 1
            return
        if len(message) > MAX_LINE:
            message = message[:MAX_LINE] + "…"
        self._records += 1
        self._bytes += len(message)
        self._sink(LogRecord(self.component, level, source[:MAX_LINE], message))

    def drop(self, lines: int) -> None:
        """Counts lines that nobody will see."""
        self._dropped += lines

    def writer(self, source: str, level: str) -> LineWriter:
        """The one writer of `stdout` or `stderr`: its lines are whole whoever holds a stream of it."""
        writer = self._writers.get(source)
        if writer is None:
            writer = self._writers[source] = LineWriter(self, source, level)
        return writer

    def close(self) -> None:
        """Writes out unfinished lines, and the marker if something was dropped. Idempotent."""
        for writer in self._writers.values():
            writer.flush()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            text = (
                f"… {dropped} more records of this invocation were dropped (limit {MAX_RECORDS} or {MAX_BYTES} bytes)"
            )
            self._sink(LogRecord(self.component, "warn", "trellis", text))


class LineWriter:
    """Cuts a byte stream into lines; an unfinished line waits for its end, up to `MAX_LINE` bytes."""

    __slots__ = ("_cut", "_level", "_log", "_rest", "_source")

    def __init__(self, log: ComponentLog, source: str, level: str) -> None:
        self._log = log
        self._source = source
        self._level = level
        self._rest = b""
        self._cut = False

    def write(self, data: bytes) -> None:
        if self._log.exhausted:
            self._log.drop(data.count(b"\n"))
            return
        *lines, rest = (self._rest + data).split(b"\n")
        for index, line in enumerate(lines):
            if self._cut:
                self._cut = False
            elif self._log.exhausted:
                self._log.drop(len(lines) - index)
                break
            else:
                self._emit(line.removesuffix(b"\r"))
        if self._cut:
            rest = b""
        elif len(rest) > MAX_LINE:
            self._emit(rest)
            self._cut, rest = True, b""
        self._rest = rest

    def flush(self) -> None:
        """Ends the unfinished line, if there is one."""
        rest, self._rest = self._rest, b""
        if rest:
            self._emit(rest)

    def _emit(self, line: bytes) -> None:
        text = line[:MAX_LINE].decode("utf-8", "replace")
        self._log.emit(self._level, self._source, text + "…" if len(line) > MAX_LINE else text)
