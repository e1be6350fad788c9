"""CloudEvents around what happens on a lattice (lattice-protocol 2.1). Pure: id and time are arguments.

The laws of this file: `source` is the bare host id; `type` ends with the subject's last token; an event that
nobody knows, or whose data is not as it should be, is still an envelope, never an exception.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import ValidationError

from trellis_lattice.errors import TrellisError, from_wire
from trellis_lattice.wire import MAX_MESSAGE, Text, WireModel

__all__ = ["TYPE_PREFIX", "Event", "Failure", "LatticeEvent", "build", "parse"]

TYPE_PREFIX = "com.wasmcloud.lattice."


class Event(WireModel):
    """The data of one kind of event. `kind` is the last token of type and subject."""

    kind: ClassVar[str]


class Failure(WireModel):
    """Why something failed: the text that v1 knows, and, from a Trellis host, the error itself."""

    error: Text
    failure: dict[str, Any] | None = None
    """Wire form of the error; v1 ignores it."""

    @property
    def exception(self) -> TrellisError:
        """The failure as the class it was raised as; `TrellisError` from a v1 host."""
        return from_wire(self.failure) if self.failure is not None else TrellisError(self.error)


@dataclass(frozen=True, slots=True)
class LatticeEvent:
    """An event as received. `event` is None if its kind is unknown or its data malformed; `data` is raw."""

    kind: str
    source: str
    """The host it is about."""
    id: str
    time: str
    data: Mapping[str, Any]
    event: Event | None


def build(event: Event, *, source: str, id: str, time: datetime) -> bytes:
    """The structured JSON form. `time` must know its time zone."""
    stamp = time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    envelope = {
        "specversion": "1.0",
        "id": id,
        "type": TYPE_PREFIX + event.kind,
        "source": source,
        "datacontenttype": "application/json",
        "time": stamp,
        "data": event.to_data(),
    }
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()


def parse(payload: bytes, known: Mapping[str, type[Event]]) -> LatticeEvent | None:
    """None if this is not an event of a lattice at all."""
    try:
        envelope = json.loads(payload) if len(payload) <= MAX_MESSAGE else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(envelope, Mapping):
        return None
    type_, source, data = envelope.get("type"), envelope.get("source"), envelope.get("data")
    if not isinstance(type_, str) or not type_.startswith(TYPE_PREFIX) or not isinstance(source, str):
        return None
    data = data if isinstance(data, Mapping) else {}
    kind = type_.removeprefix(TYPE_PREFIX)
    model = known.get(kind)
    event: Event | None = None
    if model is not None:
        try:
            event = model.model_validate(data)
        except (ValidationError, ValueError, TypeError, RecursionError):
            event = None
    return LatticeEvent(kind, source, str(envelope.get("id", "")), str(envelope.get("time", "")), data, event)
