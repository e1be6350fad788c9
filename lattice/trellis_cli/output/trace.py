"""A trace as a tree: what called what, when, for how long, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from trellis_cli.output.style import PLAIN, Style, clean
from trellis_cli.output.table import align
from trellis_cli.output.times import duration

__all__ = ["SpanLike", "trace_text", "tree"]

_BAR = 20


class SpanLike(Protocol):
    """What is shown of one span. Times are nanoseconds; `parent_id` is empty for a root."""

    @property
    def span_id(self) -> str: ...
    @property
    def parent_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


def tree(spans: Sequence[SpanLike]) -> Iterator[tuple[int, bool, SpanLike]]:
    """(depth, last of its siblings, span) from the root down, siblings in the order they started.

    A span whose parent is not known is a root. Each span comes once, whatever its parents say.
    """
    known = {span.span_id: span for span in spans}
    ordered = sorted(known.values(), key=lambda span: (span.start, span.end, span.span_id))
    children: dict[str, list[SpanLike]] = {}
    for span in ordered:
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    seen: set[str] = set()
    roots = [*children.pop("", []), *ordered]  # those in a circle of parents come last, as roots
    pending = [(0, True, span) for span in reversed(roots)]
    while pending:
        depth, last, span = pending.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        yield depth, last, span
        below = [child for child in children.get(span.span_id, []) if child.span_id not in seen]
        pending += [(depth + 1, child is below[-1], child) for child in reversed(below)]


def trace_text(trace_id: str, spans: Sequence[SpanLike], host_names: Mapping[str, str], style: Style = PLAIN) -> str:
    """The tree as lines: name, where it lies in time, duration, host, and what is notable."""
    if not spans:
        return ""
    begin, end = min(span.start for span in spans), max(span.end for span in spans)
    rows, failed = [], []
    open_levels: list[bool] = []
    for depth, last, span in tree(spans):
        del open_levels[depth:]
        open_levels.append(not last)
        rows.append(
            [
                _branches(open_levels, last) + clean(span.name),
                _bar(span, begin, end),
                duration(span.end - span.start),
                host_names.get(span.host, span.host[:10]),
                _notes(span),
            ]
        )
        failed.append(span.status == "error")

    def paint(row: int, column: int, text: str) -> str:
        if column == 1:
            return style.dim(text)
        return style.red(text) if failed[row] and column in (0, 4) else text

    hosts = {span.host for span in spans}
    head = f"trace {trace_id}: {_count(len(spans), 'span')} on {_count(len(hosts), 'host')}, {duration(end - begin)}"
    return f"{style.bold(head)}\n{align(rows, right=frozenset({2}), paint=paint)}"


def _branches(open_levels: Sequence[bool], last: bool) -> str:
    if len(open_levels) == 1:
        return ""
    above = "".join("│  " if going else "   " for going in open_levels[1:-1])
    return above + ("└─ " if last else "├─ ")


def _bar(span: SpanLike, begin: int, end: int) -> str:
    whole = max(1, end - begin)
    first = min(_BAR - 1, (span.start - begin) * _BAR // whole)
    length = max(1, round((span.end - span.start) * _BAR / whole))
    return ("·" * first + "━" * length)[:_BAR].ljust(_BAR, "·")


def _notes(span: SpanLike) -> str:
    parts = [str(span.attributes[key]) for key in ("trellis.component", "trellis.route") if span.attributes.get(key)]
    code = span.attributes.get("http.response.status_code")
    if code is not None:
        parts.append(f"HTTP {code}")
    if span.status == "error":
        parts.append(span.message or "failed")
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
