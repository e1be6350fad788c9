"""docs/protocol.md means what it says: its golden vectors hold in both directions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest

from trellis_lattice.bus.membership import Beat
from trellis_lattice.errors import from_wire
from trellis_lattice.follow.records import CallFilter, CallRecord, LogFilter, LogRecord
from trellis_lattice.invocation import frames
from trellis_lattice.invocation.frames import Kind, StreamRef
from trellis_lattice.invocation.headers import (
    DROP_HEADERS,
    HEAD,
    TRACEPARENT,
    Address,
    is_drop,
    parse_request,
    request_headers,
)
from trellis_lattice.streams import Fields
from trellis_lattice.wit import FuncType
from trellis_lattice.wit.cbor import Codec, FuncCodec, dumps, loads
from trellis_lattice.wit.describe import describe_type, parse_type
from trellis_lattice.wit.json import args_from_json, from_json, to_json
from trellis_providers.http_server import announcements
from trellis_providers.http_server.claims import Announcement, Claim
from trellis_providers.http_server.config import LinkSettings
from trellis_providers.http_server.routes import Route

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
Block = dict[str, str]


def golden_blocks(text: str) -> list[tuple[str, Block]]:
    """The kind and the `key: value` lines of every golden block."""
    blocks = []
    for kind, body in re.findall(r"^```golden (\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        lines = [line.partition(":") for line in body.splitlines()]
        blocks.append((kind, {key: value.strip() for key, _, value in lines}))
    return blocks


def hexadecimal(text: str) -> bytes:
    return bytes.fromhex(text)


def fields(text: str | None) -> Fields | None:
    return None if text is None else [(name, hexadecimal(value)) for name, value in json.loads(text)]


def check_request(block: Block) -> None:
    interface = "" if block["interface"] == "-" else block["interface"]
    address = Address(block["source"], block["link"], interface, block["function"])
    traceparent = block.get("traceparent")
    headers = {HEAD: block["header"], **({TRACEPARENT: traceparent} if traceparent else {})}
    assert request_headers(address, int(block["remaining"]), traceparent, None) == headers
    head = parse_request(headers)
    assert (head.address, head.remaining_ms, head.traceparent) == (address, int(block["remaining"]), traceparent)
    params = tuple((f"p{number}", parse_type(wire)) for number, wire in enumerate(json.loads(block["params"])))
    type, typed = FuncType(params), json.loads(block["args"])
    codec, payload = FuncCodec(type), hexadecimal(block["payload"])
    assert codec.encode_args(args_from_json(type, typed)) == payload
    assert [to_json(of, arg) for (_, of), arg in zip(params, codec.decode_args(payload), strict=True)] == typed


def check_error(block: Block) -> None:
    wire, data = json.loads(block["json"]), hexadecimal(block["cbor"])
    assert dumps(from_wire(wire).to_wire()) == data
    assert from_wire(loads(data)).to_wire() == wire


def check_value(block: Block) -> None:
    description, typed, data = json.loads(block["type"]), json.loads(block["json"]), hexadecimal(block["cbor"])
    type = parse_type(description)
    codec = Codec(type)
    assert describe_type(type) == description
    assert dumps(codec.encode(from_json(type, typed))) == data
    assert to_json(type, codec.decode(loads(data))) == typed


def check_stream(block: Block) -> None:
    shown = json.loads(block["json"])
    trailers = None if "trailers" not in shown else [(name, hexadecimal(value)) for name, value in shown["trailers"]]
    ref = StreamRef(hexadecimal(shown["head"]), shown.get("more"), shown.get("host"), shown.get("size"), trailers)
    assert dumps(ref.to_wire()) == hexadecimal(block["cbor"])
    assert StreamRef.from_wire(cbor2.loads(hexadecimal(block["cbor"]))) == ref


def check_frame(block: Block) -> None:
    number, rest, data = int(block["number"]), hexadecimal(block["rest"]), hexadecimal(block["frame"])
    frame = frames.parse(data)
    assert (frame.kind, frame.number, frame.rest) == (Kind[block["kind"].upper()], number, rest)
    match frame.kind:
        case Kind.DATA:
            built = frames.data(number, rest)
        case Kind.END:
            built = frames.end(number, fields(block.get("trailers")))
            assert frame.trailers() == fields(block.get("trailers"))
        case Kind.ERROR:
            built = frames.error(number, from_wire(json.loads(block["error"])))
            assert frame.failure().to_wire() == json.loads(block["error"])
        case Kind.CREDIT:
            built = frames.credit(number)
        case Kind.CANCEL:
            built = frames.cancel()
    assert built == data


def check_drop(block: Block) -> None:
    assert {HEAD: block["header"]} == DROP_HEADERS
    assert is_drop({HEAD: block["header"]})
    assert dumps(json.loads(block["ids"])) == hexadecimal(block["payload"])


def check_beat(block: Block) -> None:
    flags = json.loads(block["flags"])
    beat = Beat(
        block["host"],
        int(block["boot"]),
        int(block["seq"]),
        int(block["rev"]),
        float(block["load"]),
        draining="draining" in flags,
        leaving="leaving" in flags,
        memory=float(block.get("mem", "0")),
    )
    assert beat.encode() == block["payload"].encode()
    assert Beat.decode(block["payload"].encode(), block["host"]) == beat


def check_routes(block: Block) -> None:
    link = tuple(json.loads(block["link"]))
    settings = LinkSettings(("0.0.0.0", 8000), None, block["path"], timeout=float(block["timeout"]))
    claim = Claim(Route(link, link[1], link[4], settings), int(block["since"]))
    said = Announcement(block["member"], int(block["revision"]), (claim,))
    assert announcements.encode(said) == block["payload"].encode()
    assert announcements.decode(block["payload"].encode(), settings.address) == said


TOLD = {"log": LogRecord, "call": CallRecord, "logs": LogFilter, "calls": CallFilter}


def check_told(kind: str) -> Callable[[Block], None]:
    def check(block: Block) -> None:
        wire = json.loads(block["payload"])
        assert TOLD[kind].from_wire(wire).to_wire() == wire

    return check


CHECKS: dict[str, Callable[[Block], None]] = {
    "beat": check_beat,
    "drop": check_drop,
    "error": check_error,
    "frame": check_frame,
    "request": check_request,
    "routes": check_routes,
    "stream": check_stream,
    "value": check_value,
    **{kind: check_told(kind) for kind in TOLD},
}
BLOCKS = golden_blocks(DOCUMENT.read_text(encoding="utf-8"))


def test_every_kind_of_message_has_a_vector():
    assert {kind for kind, _ in BLOCKS} == CHECKS.keys()
    assert len(BLOCKS) >= 20


@pytest.mark.parametrize(("kind", "block"), BLOCKS, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(BLOCKS)])
def test_golden_vectors_hold_in_both_directions(kind: str, block: Block):
    CHECKS[kind](block)
