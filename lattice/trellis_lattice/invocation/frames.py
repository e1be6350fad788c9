"""Frames of a byte stream between two peers (docs/protocol.md, "Streams"). Pure.

    frame = kind (1 byte) | number (4 bytes, big-endian) | rest

    writer to reader   01 data    number: sequence from 0    rest: 1 or more bytes
                       02 end     number: sequence           rest: empty, or CBOR [[name, value], …] (trailers)
                       03 error   number: sequence           rest: CBOR error map
    reader to writer   11 credit  number: bytes that may follow in addition
                       12 cancel  number: 0

The writer sends no more bytes than it has credit for. A gap in the sequence means that a frame was lost on the
way, which ends the stream: NATS delivers at most once.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

from trellis_lattice.errors import PeerMisbehaved, TrellisError, Unavailable, from_wire
from trellis_lattice.wit.cbor import dumps, loads

__all__ = [
    "CHUNK",
    "HEAD_SIZE",
    "WINDOW",
    "CreditCounter",
    "Frame",
    "Kind",
    "SequenceChecker",
    "StreamRef",
    "cancel",
    "credit",
    "data",
    "end",
    "error",
    "parse",
]

Fields: TypeAlias = list[tuple[str, bytes]]
"""As `trellis_lattice.streams.Fields`, which would bring an event loop with it."""
CHUNK = 64 * 1024
"""Most bytes in one data frame."""
WINDOW = 256 * 1024
"""Bytes a reader is ready to hold for one stream."""
HEAD_SIZE = 5
_HEAD = struct.Struct(">BI")
_MAX_FIELDS = 1000
_REPLY_SUBJECT = re.compile(r"_INBOX\.[!-)+-=?-~]{1,248}", re.ASCII)
"""Streams are asked for at reply subjects only, so that a peer cannot make us publish anywhere else."""


class Kind(IntEnum):
    DATA = 0x01
    END = 0x02
    ERROR = 0x03
    CREDIT = 0x11
    CANCEL = 0x12


@dataclass(frozen=True, slots=True)
class Frame:
    """One parsed frame. `number` is a sequence, or bytes of credit."""

    kind: Kind
    number: int
    rest: bytes

    def trailers(self) -> Fields | None:
        """Of an end frame. Raises `PeerMisbehaved` if they are not fields."""
        return parse_fields(loads(self.rest)) if self.rest else None

    def failure(self) -> TrellisError:
        """Of an error frame."""
        return from_wire(loads(self.rest))


def data(sequence: int, chunk: bytes) -> bytes:
    return _HEAD.pack(Kind.DATA, sequence) + chunk


def end(sequence: int, trailers: Fields | None = None) -> bytes:
    return _HEAD.pack(Kind.END, sequence) + (b"" if trailers is None else dumps([list(pair) for pair in trailers]))


def error(sequence: int, failure: TrellisError) -> bytes:
    return _HEAD.pack(Kind.ERROR, sequence) + dumps(failure.to_wire())


def credit(size: int) -> bytes:
    return _HEAD.pack(Kind.CREDIT, size)


def cancel() -> bytes:
    return _HEAD.pack(Kind.CANCEL, 0)


def parse(payload: bytes) -> Frame:
    """Raises `PeerMisbehaved` for what is not a frame."""
    if len(payload) < HEAD_SIZE:
        raise PeerMisbehaved(f"A frame has {len(payload)} bytes; its head alone has {HEAD_SIZE}.")
    kind, number = _HEAD.unpack_from(payload)
    try:
        return Frame(Kind(kind), number, payload[HEAD_SIZE:])
    except ValueError:
        raise PeerMisbehaved(f"A frame is of unknown kind {kind:#04x}.") from None


def parse_fields(wire: Any) -> Fields:
    """Header or trailer fields from CBOR. Raises `PeerMisbehaved`."""
    if not isinstance(wire, list) or len(wire) > _MAX_FIELDS:
        raise PeerMisbehaved("Trailers are not an array of fields, or too many.")
    for pair in wire:
        if not isinstance(pair, list) or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not bytes:
            raise PeerMisbehaved("A trailer is not a pair of text and bytes.")
    return [(name, value) for name, value in wire]


class SequenceChecker:
    """Accepts frames of one stream in order."""

    __slots__ = ("expected",)

    def __init__(self) -> None:
        self.expected = 0

    def accept(self, frame: Frame) -> None:
        """Raises `Unavailable` if a frame was lost before this one."""
        if frame.number != self.expected:
            raise Unavailable(
                f"Part {self.expected} of a stream was lost on the way (part {frame.number} came instead).",
                remedy="Send the request again if that is safe.",
                maybe_executed=True,
            )
        self.expected += 1


class CreditCounter:
    """When a reader grants more: once half of the window has been consumed."""

    __slots__ = ("_consumed", "outstanding")

    def __init__(self) -> None:
        self._consumed = 0
        self.outstanding = WINDOW
        """Bytes that the writer may still send."""

    def received(self, size: int) -> None:
        """Raises `PeerMisbehaved` if the writer sent more than it may."""
        self.outstanding -= size
        if self.outstanding < 0:
            raise PeerMisbehaved("The writer of a stream sent more than it had credit for.")

    def consumed(self, size: int) -> int:
        """How much credit to send now; 0: none yet."""
        self._consumed += size
        if self._consumed < WINDOW // 2:
            return 0
        grant, self._consumed = self._consumed, 0
        self.outstanding += grant
        return grant


@dataclass(frozen=True, slots=True)
class StreamRef:
    """How a stream stands in a value: `head` are its first bytes, the rest is asked for at subject `more`.

    `host`: whose death ends the stream. `size`: all bytes, where known before they are sent.
    """

    head: bytes
    more: str | None = None
    host: str | None = None
    size: int | None = None
    trailers: Fields | None = None

    def to_wire(self) -> Any:
        """A byte string if that says all, else a map."""
        if self.more is None and self.trailers is None:
            return self.head
        wire: dict[str, Any] = {"head": self.head}
        if self.more is not None:
            wire["more"] = self.more
        if self.host is not None:
            wire["host"] = self.host
        if self.size is not None:
            wire["size"] = self.size
        if self.trailers is not None:
            wire["trailers"] = [list(pair) for pair in self.trailers]
        return wire

    @classmethod
    def from_wire(cls, wire: Any) -> StreamRef:
        """Raises `ValueError` saying what a reference consists of."""
        if type(wire) is bytes:
            return cls(wire)
        if type(wire) is not dict or not {"head"} <= wire.keys() <= {"head", "more", "host", "size", "trailers"}:
            raise ValueError("bytes, or a map with head, more, host, size, trailers")
        head, more, host, size = wire["head"], wire.get("more"), wire.get("host"), wire.get("size")
        if type(head) is not bytes or not isinstance(more, str | None) or not isinstance(host, str | None):
            raise ValueError("head as bytes, more and host as text")
        if size is not None and (type(size) is not int or size < 0):
            raise ValueError("size as a number of bytes")
        if more is not None and not _REPLY_SUBJECT.fullmatch(more):
            raise ValueError("more as a reply subject")
        trailers = None if "trailers" not in wire else parse_fields(wire["trailers"])
        return cls(head, more, host, size, trailers)
