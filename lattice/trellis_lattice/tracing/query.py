"""Recent spans across the lattice: every host answers for its own, the asker puts the tree together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trellis_lattice.bus.connection import Connection, Message, Subscription
from trellis_lattice.errors import PeerMisbehaved, RequestInvalid
from trellis_lattice.invocation.subjects import trace_get
from trellis_lattice.invocation.tasks import Tasks
from trellis_lattice.tracing.recent import RecentSpans, SpanRecord

__all__ = ["TraceNode", "gather_trace", "serve_traces", "span_tree"]

_MAX_SPANS = 2000
"""Most spans of one trace that a host answers with."""
_MAX_BYTES = 768 * 1024


@dataclass(frozen=True, slots=True)
class TraceNode:
    """A span and those below it, in the order they started. `missing_parent`: its parent is not known here."""

    span: SpanRecord
    children: tuple[TraceNode, ...]
    missing_parent: bool = False

    def walk(self, depth: int = 0) -> Iterator[tuple[int, SpanRecord]]:
        """The spans from the top with their depth."""
        yield depth, self.span
        for child in self.children:
            yield from child.walk(depth + 1)


def span_tree(spans: Sequence[SpanRecord]) -> list[TraceNode]:
    """The roots of a trace, oldest first; a span whose parent is unknown counts as one. Pure."""
    known = {span.span_id: span for span in spans}
    below: dict[str, list[SpanRecord]] = {}
    for span in sorted(known.values(), key=lambda span: (span.start, span.span_id)):
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)

    def node(span: SpanRecord) -> TraceNode:
        children = tuple(node(child) for child in below.get(span.span_id, ()) if child.span_id != span.span_id)
        return TraceNode(span, children, bool(span.parent_id) and span.parent_id not in known)

    return [node(span) for span in below.get("", ())]


async def serve_traces(connection: Connection, lattice: str, recent: RecentSpans, tasks: Tasks) -> Subscription:
    """Answers what this host knows of a trace; end it with `unsubscribe`."""

    def on_message(message: Message) -> None:
        if message.reply:
            tasks.spawn(connection.publish(message.reply, _answer(recent, message.data)))

    return await connection.subscribe(trace_get(lattice), on_message)


async def gather_trace(
    connection: Connection, lattice: str, trace_id: str, *, timeout: float = 1.0, hosts: int | None = None
) -> list[SpanRecord]:
    """The spans of a trace that any host remembers, oldest first; empty if none does.

    Waits `timeout` seconds for the hosts, or until `hosts` of them have answered. Raises `RequestInvalid` for
    what is not a trace id, `Unavailable` without a connection.
    """
    text = trace_id.strip().lower()
    if len(text) != 32 or not all(char in "0123456789abcdef" for char in text):
        raise RequestInvalid(f"{trace_id[:80]!r} is not a trace id.", remedy="It has 32 hexadecimal digits.")
    answers = await connection.gather(
        trace_get(lattice),
        json.dumps({"trace_id": text}).encode(),
        deadline=asyncio.get_running_loop().time() + timeout,
        enough=lambda answers: hosts is not None and len(answers) >= hosts,
    )
    spans = {span.span_id: span for answer in answers for span in _parse(answer.data)}
    return sorted(spans.values(), key=lambda span: (span.start, span.span_id))


def _answer(recent: RecentSpans, request: bytes) -> bytes:
    try:
        trace_id = str(json.loads(request)["trace_id"])
    except (ValueError, KeyError, TypeError):
        trace_id = ""
    spans: list[str] = []
    size = 0
    for span in recent.get(trace_id)[:_MAX_SPANS]:
        text = json.dumps(span.to_wire(), default=str)
        size += len(text) + 1
        if size > _MAX_BYTES:
            break
        spans.append(text)
    return ('{"spans":[' + ",".join(spans) + "]}").encode()


def _parse(data: bytes) -> list[SpanRecord]:
    try:
        spans = json.loads(data)["spans"]
    except (ValueError, KeyError, TypeError):
        raise PeerMisbehaved("A host answered with spans that are not JSON.") from None
    if not isinstance(spans, list):
        raise PeerMisbehaved("A host answered with spans that are not an array.")
    return [SpanRecord.from_wire(span) for span in spans]
