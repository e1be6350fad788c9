"""What is told: log records and calls, as they cross the lattice, and what of them somebody wants. Pure.

The laws of this file: what a peer sent is checked before anything acts on it; every text is bounded, so that one
record never fills a message. Times are nanoseconds since 1970 on the clock of the host that tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from trellis_lattice.errors import PeerMisbehaved, RequestInvalid

__all__ = ["LEVELS", "CallFilter", "CallRecord", "LogFilter", "LogRecord", "cut"]

LEVELS = ("trace", "debug", "info", "warn", "error", "critical")
MAX_MESSAGE = 8 * 1024
"""Characters of one message."""
MAX_PAYLOAD = 2 * 1024
"""Characters of the arguments, or the result, of one call."""
_MAX_NAMES = 1024


def cut(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text, or its beginning with a mark."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line. `component`: the component or provider that said it, empty for the host itself; `source`: `stdout`,
    `stderr`, the context of `wasi:logging`, or a part of the host."""

    time: int
    host: str
    component: str
    source: str
    level: str
    message: str
    trace_id: str = ""

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Raises `PeerMisbehaved`."""
        return cls(**_fields(wire, {"time": int}, ("host", "component", "source", "level", "message", "trace_id")))


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call that has ended. `duration` in nanoseconds; `route`: `local` or `lattice`; `outcome`: `ok`, `err` for
    a WIT result that is one, or the code of an error; sizes in bytes, None where nothing was encoded; `args` and
    `result` are JSON, only where they were asked for."""

    time: int
    host: str
    source: str
    target: str
    link_name: str
    interface: str
    function: str
    route: str
    duration: int
    outcome: str
    message: str = ""
    trace_id: str = ""
    request_bytes: int | None = None
    response_bytes: int | None = None
    args: str | None = None
    result: str | None = None

    def to_wire(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Raises `PeerMisbehaved`."""
        texts = ("host", "source", "target", "link_name", "interface", "function", "route", "outcome", "message")
        fields = _fields(wire, {"time": int, "duration": int}, (*texts, "trace_id"))
        assert isinstance(wire, Mapping)
        for name, kind in (("request_bytes", int), ("response_bytes", int), ("args", str), ("result", str)):
            value = wire.get(name)
            fields[name] = value if isinstance(value, kind) and not isinstance(value, bool) else None
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which log records somebody wants. Empty sets: all. `since`: at most so many seconds old (0: any)."""

    components: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    level: str = "trace"
    since: float = 0.0
    limit: int = 1000

    def admits(self, record: LogRecord) -> bool:
        if self.components and record.component not in self.components:
            return False
        return LEVELS.index(record.level) >= LEVELS.index(self.level)

    def to_wire(self) -> dict[str, Any]:
        wire = {"level": self.level, "since": self.since, "limit": self.limit}
        return {**wire, "components": sorted(self.components), "hosts": sorted(self.hosts)}

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Raises `RequestInvalid`."""
        found = _request(wire)
        level = found.get("level", "trace")
        if level not in LEVELS:
            raise RequestInvalid(f"{str(level)[:40]!r} is no level.", remedy=f"Use one of {', '.join(LEVELS)}.")
        limit = _number(found, "limit", 1000)
        return cls(
            components=_names(found, "components"),
            hosts=_names(found, "hosts"),
            level=str(level),
            since=_number(found, "since", 0.0),
            limit=int(min(max(limit, 1), 1000)),
        )


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls somebody wants: from or to one of `ids`, of a function. `payloads`: with arguments and results."""

    ids: frozenset[str]
    function: str = ""
    payloads: bool = False
    hosts: frozenset[str] = frozenset()

    def wants(self, source: str, target: str, interface: str, function: str) -> bool:
        if source not in self.ids and target not in self.ids:
            return False
        wanted = self.function
        full = f"{interface.partition('@')[0]}.{function}"
        return not wanted or wanted == function or full == wanted or full.endswith((f"/{wanted}", f".{wanted}"))

    def admits(self, record: CallRecord) -> bool:
        return self.wants(record.source, record.target, record.interface, record.function)

    def to_wire(self) -> dict[str, Any]:
        return {"ids": sorted(self.ids), "function": self.function, "payloads": self.payloads}

    @classmethod
    def from_wire(cls, wire: object) -> Self:
        """Raises `RequestInvalid`."""
        found = _request(wire)
        ids = _names(found, "ids")
        if not ids:
            raise RequestInvalid("Whose calls? The request names nobody.", remedy="Give `ids`.")
        return cls(ids, str(found.get("function", ""))[:512], found.get("payloads") is True, _names(found, "hosts"))


def _fields(wire: object, numbers: Mapping[str, type], texts: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(wire, Mapping):
        raise PeerMisbehaved("A record that a host told is not a map.")
    found: dict[str, Any] = {}
    for name, kind in {**numbers, **dict.fromkeys(texts, str)}.items():
        value = wire.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise PeerMisbehaved(f"Field {name!r} of a record is missing or not {kind.__name__}.")
        found[name] = cut(value, 4 * MAX_MESSAGE) if isinstance(value, str) else value
    if "level" in found and found["level"] not in LEVELS:
        found["level"] = "info"
    return found


def _request(wire: object) -> Mapping[str, Any]:
    if not isinstance(wire, Mapping):
        raise RequestInvalid("The request is not a JSON object.")
    return wire


def _names(wire: Mapping[str, Any], key: str) -> frozenset[str]:
    names = wire.get(key, [])
    if not isinstance(names, list) or len(names) > _MAX_NAMES or not all(isinstance(name, str) for name in names):
        raise RequestInvalid(f"`{key}` is not a list of at most {_MAX_NAMES} names.")
    return frozenset(name[:256] for name in names)


def _number(wire: Mapping[str, Any], key: str, default: float) -> float:
    value = wire.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise RequestInvalid(f"`{key}` is not a number from 0 to 10^9.")
    return value
