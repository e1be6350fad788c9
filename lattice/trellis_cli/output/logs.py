"""Log records of hosts and what runs on them, one line each; and calls, as a spy sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from trellis_cli.output.document import Column, Listing
from trellis_cli.output.lattice import short_id
from trellis_cli.output.style import PLAIN, Style, clean, width
from trellis_cli.output.times import duration
from trellis_lattice.follow.records import CallRecord, LogRecord

__all__ = ["call_item", "call_line", "log_item", "log_line", "logs", "moment", "stamp"]


def stamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return f"{moment(nanoseconds, '%Y-%m-%dT%H:%M:%S')}Z"


def moment(nanoseconds: int, pattern: str = "%H:%M:%S") -> str:
    """The time in UTC, with milliseconds; a time that no calendar has becomes 1970."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        when, rest = datetime.fromtimestamp(0, UTC), 0
    return f"{when.strftime(pattern)}.{rest // 1_000_000:03d}"


def log_item(record: LogRecord, names: Mapping[str, str]) -> dict[str, Any]:
    """A record as data, its time as RFC 3339."""
    wire = record.to_wire()
    return {
        **wire,
        "time": stamp(record.time),
        "host_name": names.get(record.host, ""),
        "trace_id": record.trace_id or None,
    }


def logs(found: Iterable[LogRecord], names: Mapping[str, str], lattice: str) -> Listing:
    """Records, oldest first."""
    ordered = sorted(found, key=lambda record: record.time)
    return Listing(
        key="logs",
        columns=(
            Column("time"),
            Column("host"),
            Column("component"),
            Column("level"),
            Column("message"),
            Column("trace", wide=True),
        ),
        rows=[
            (
                moment(record.time),
                _host(record.host, names),
                record.component or "-",
                record.level,
                record.message,
                record.trace_id,
            )
            for record in ordered
        ],
        items=[log_item(record, names) for record in ordered],
        names=list(dict.fromkeys(record.component or record.host for record in ordered)),
        empty=f"The hosts of lattice `{lattice}` remember no such log record.",
    )


def log_line(record: LogRecord, names: Mapping[str, str], style: Style = PLAIN, *, wide: bool = False) -> str:
    """A record as lines of a stream; further lines of a message are indented below the first."""
    first, *more = clean(record.message, keep_lines=True).split("\n")
    level = _painted(f"{record.level:<5}", record.level, style)
    who = _padded(clean(record.component) or "-", 20)
    trace = style.dim(f"  [trace {clean(record.trace_id)}]") if wide and record.trace_id else ""
    head = f"{style.dim(moment(record.time))}  {_padded(_host(record.host, names), 22)}  {who}  {level}  {first}{trace}"
    return "".join(f"{line.rstrip()}\n" for line in (head, *(f"    {line}" for line in more if line.strip())))


def call_item(record: CallRecord, names: Mapping[str, str]) -> dict[str, Any]:
    """A call as data: its time as RFC 3339, its duration in seconds."""
    wire = {**record.to_wire(), "time": stamp(record.time), "host_name": names.get(record.host, "")}
    return {**wire, "duration": record.duration / 1e9, "trace_id": record.trace_id or None}


def call_line(record: CallRecord, names: Mapping[str, str], style: Style = PLAIN, *, wide: bool = False) -> str:
    """A call as lines of a stream: who called what, how long it took, how it ended, which way it went."""
    function = f"{record.interface}.{record.function}" if wide else _short(record)
    way = f"{clean(record.source)} → {clean(record.target)}"
    outcome = style.green(record.outcome) if record.outcome == "ok" else style.red(clean(record.outcome))
    sizes = "" if record.request_bytes is None else f"  {_size(record.request_bytes)} → {_size(record.response_bytes)}"
    trace = style.dim(f"  {clean(record.trace_id)}") if record.trace_id else ""
    took = f"{duration(record.duration):>8}"
    where = f"{clean(record.route)} on {clean(_host(record.host, names))}"
    head = f"{style.dim(moment(record.time))}  {_padded(way, 28)}  {_padded(clean(function), 32)}  {took}"
    head += f"  {outcome}  {where}{sizes}{trace}"
    below = [f"    {style.red(clean(record.message))}"] if record.message else []
    below += [f"    args    {clean(record.args)}"] if record.args is not None else []
    below += [f"    result  {clean(record.result)}"] if record.result is not None else []
    return "".join(f"{line}\n" for line in (head, *below))


def _short(record: CallRecord) -> str:
    """Without the package and the version of the interface."""
    interface = record.interface.partition("@")[0].rpartition("/")[2]
    return f"{interface}.{record.function}" if interface else record.function


def _size(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size} B" if size < 10_000 else f"{size / 1000:.0f} kB" if size < 10_000_000 else f"{size / 1e6:.0f} MB"


def _painted(text: str, level: str, style: Style) -> str:
    if level in ("error", "critical"):
        return style.red(text)
    return style.yellow(text) if level == "warn" else style.dim(text) if level in ("trace", "debug") else text


def _host(id: str, names: Mapping[str, str]) -> str:
    return clean(names.get(id) or short_id(id))


def _padded(text: str, columns: int) -> str:
    return text + " " * max(0, columns - width(text))
