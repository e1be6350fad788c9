"""Everything that reads bytes of somebody else, one entry each: what the property test and the campaign feed.

The law of an entry: whatever the bytes are, `decode` returns or raises a `TrellisError`, soon, and in bounded memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.fuzz.v1_decoders import V1_DECODERS
from trellis_cli.up import record
from trellis_lattice import events, subjects
from trellis_lattice.bus import direct, kv_watch
from trellis_lattice.bus.lease_rules import LeaseRecord
from trellis_lattice.bus.membership import Beat
from trellis_lattice.config import decode_config
from trellis_lattice.control import OPERATIONS, ControlOperation
from trellis_lattice.errors import from_wire
from trellis_lattice.http import HANDLE_TYPE
from trellis_lattice.ids import HostKey, decode_public_key, decode_seed
from trellis_lattice.invocation import frames, headers
from trellis_lattice.links import ComponentSpec
from trellis_lattice.tracing.w3c import parse_traceparent
from trellis_lattice.wit import types
from trellis_lattice.wit.cbor import DATA_ONLY, Codec, FuncCodec, dumps, loads
from trellis_lattice.wit.describe import describe_interface, parse_interface
from trellis_lattice.wit.json import from_json
from trellis_providers.http_server import announcements
from trellis_providers.keyvalue_nats.keys import decode_key
from trellis_wadm import quantities
from trellis_wadm.api.messages import StatusReport
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.ledger import Ledger
from trellis_wadm.manifest import parse_manifests
from trellis_wadm.planner.commands import ScaleComponent, StartProvider
from trellis_wadm.refusals import Refusal
from trellis_wadm.store import announced_name

__all__ = ["DECODERS", "Decoder"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Decoder:
    """`seeds` are valid inputs, from which others are made."""

    name: str
    decode: Callable[[bytes], object]
    seeds: tuple[bytes, ...] = ()


def _text(function: Callable[[str], object]) -> Callable[[bytes], object]:
    """For what reads text: the transport has decoded it."""
    return lambda data: function(data.decode("utf-8", "replace"))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _headers(data: bytes) -> Mapping[str, str]:
    """Any text as the header of an invocation, the rest of the lines as the other headers."""
    first, *more = data.decode("utf-8", "replace").split("\n")
    return {headers.HEAD: first, **{name: value for name, _, value in (line.partition(":") for line in more)}}


_LINK = {
    "source_id": "app-echo",
    "target": "app-kv",
    "name": "default",
    "wit_namespace": "wasi",
    "wit_package": "keyvalue",
    "interfaces": ["store"],
    "source_config": [],
    "target_config": ["kv-cfg"],
}
_INVENTORY = {
    "host_id": "NDX",
    "friendly_name": "crimson-meadow-4211",
    "version": "1.9.2",
    "uptime_human": "1m 33s",
    "uptime_seconds": 93,
    "labels": {"zone": "a"},
    "components": [{"id": "app-echo", "image_ref": "r", "revision": 0, "max_instances": 4, "limits": None}],
    "providers": [{"id": "app-http", "image_ref": "p", "revision": 0}],
}
_REQUESTS: Mapping[str, object] = {
    "host.stop": {"host_id": "N", "timeout": 2000},
    "host.stays": {"workloads": ["app-echo"]},
    "host.part": {"snapshot": "5f0c7e1d2b3a4958", "part": 1},
    "label.put": {"key": "zone", "value": "a"},
    "label.del": {"key": "zone"},
    "component.auction": {"component_ref": "r", "component_id": "c", "constraints": {"zone": "a"}},
    "component.scale": {"component_ref": "r", "component_id": "c", "count": 4, "config": ["a"], "annotations": {}},
    "component.update": {"component_id": "c", "new_component_ref": "r:2", "host_id": "N"},
    "component.prepare": {"component_ref": "r", "host_id": "N"},
    "provider.auction": {"provider_ref": "r", "provider_id": "p", "constraints": {}},
    "provider.start": {"provider_id": "p", "provider_ref": "r", "config": ["a"], "annotations": {"k": "v"}},
    "provider.stop": {"provider_ref": "p"},
    "link.put": _LINK,
    "link.del": {"source_id": "a", "name": "default", "wit_namespace": "wasi", "wit_package": "keyvalue"},
    "config.put": {"k": "v"},
    "registry.put": {"ghcr.io": {"registryType": "oci", "username": "u", "password": "p"}},
}
_RESPONSES: Mapping[str, object] = {
    "host.ping": {"id": "N", "labels": {"zone": "a"}, "uptime_seconds": 93},
    "host.get": _INVENTORY,
    "host.part": {"snapshot": "5f0c7e1d2b3a4958", "part": 1, "parts": 2, "data": "e30="},
    "component.auction": {"host_id": "N", "constraints": {"zone": "a"}},
    "provider.auction": {"host_id": "N", "constraints": {}},
    "link.get": [_LINK],
    "config.get": {"k": "v"},
    "claims.get": [{"sub": "M"}],
}


def _event(kind: str, data: object) -> bytes:
    return _json({"type": f"com.wasmcloud.lattice.{kind}", "source": "N", "id": "1", "time": "t", "data": data})


_STATUS = {
    "status": {"type": "deployed"},
    "scalers": [{"id": "1", "kind": "SpreadScaler", "name": "c", "status": {"type": "failed", "message": "no"}}],
}
_KEY = HostKey.from_bytes(bytes(32))
_RECORD = record.UpRecord(
    record.Process(1, "2"),
    "default",
    "running",
    "nats://127.0.0.1:4222",
    True,
    (record.HostRecord("host-1", record.Process(3, "4"), "N", "calm-dew"),),
)
_MANIFEST = (_ROOT / "wadm-manifests" / "kv-counter.yaml").read_bytes()
_ANY = types.Record(
    (
        ("numbers", types.ListType(types.Primitive.U64)),
        ("maybe", types.Option(types.Option(types.Primitive.STRING))),
        ("outcome", types.Result(types.ListType(types.Primitive.U8), types.Enum(("a", "b")))),
        ("flags", types.Flags(("x", "y"))),
        ("case", types.Variant((("one", None), ("two", types.Primitive.CHAR)))),
        ("pair", types.Tuple((types.Primitive.F64, types.Primitive.BOOL))),
    )
)
_ANY_VALUE = {
    "numbers": [1, 2**64 - 1],
    "maybe": ["deep"],
    "outcome": {"ok": b"bytes"},
    "flags": ["x"],
    "case": {"two": "é"},
    "pair": [1.5, True],
}
_FUNC = types.FuncType((("value", _ANY),), _ANY)


def _control(operation: ControlOperation[Any, Any]) -> tuple[Decoder, Decoder]:
    name = operation.name
    request = _json(_REQUESTS[name]) if name in _REQUESTS else b""
    reply = {"success": True, "message": "", **({"response": _RESPONSES[name]} if name in _RESPONSES else {})}
    return (
        Decoder(f"{name} request", operation.decode_request, (request,)),
        Decoder(f"{name} response", operation.decode_response, (_json(reply),)),
    )


def _frame(data: bytes) -> object:
    frame = frames.parse(data)
    match frame.kind:
        case frames.Kind.END:
            return frame.trailers()
        case frames.Kind.ERROR:
            return frame.failure()
        case _:
            return frame


def _stream_reference(data: bytes) -> object:
    """`StreamRef` says `ValueError`, which the codec turns into the place in the value."""
    try:
        return frames.StreamRef.from_wire(loads(data))
    except ValueError:
        return None


def _json_value(data: bytes) -> object:
    """JSON of the command line and of manifests, against a type."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return from_json(_ANY, value)


def _interface(data: bytes) -> object:
    try:
        wire = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return parse_interface(wire)


_INTERFACE = describe_interface(types.InterfaceType("test:any/any", {"take": _FUNC}, ("bucket",)))

DECODERS: tuple[Decoder, ...] = (
    *(decoder for operation in OPERATIONS.values() for decoder in _control(operation)),
    *(Decoder(*entry) for entry in V1_DECODERS),
    Decoder("event", events.parse, (_event("host_heartbeat", _INVENTORY), _event("linkdef_set", _LINK))),
    Decoder("beat", partial(Beat.decode, host="N"), (Beat("N" * 56, 1, 2, 3, 0.5).encode(),)),
    Decoder("lease", LeaseRecord.decode, (LeaseRecord("N", 1, 1.5).encode(),)),
    Decoder(
        "ledger",
        Ledger.decode,
        (
            _json({"links": [["a"] * 5], "configs": ["c"], "hosts": ["N"]}),
            Ledger(refusals=(Refusal(StartProvider("N", "p", "i"), "app", "no", 1, True, 7),)).encode(),
            Ledger(refusals=(Refusal(ScaleComponent("N", "c", "i", 1), None, "no", 6, False),)).encode(),
        ),
    ),
    Decoder("links of a component", ComponentSpec.from_json, (_json({"url": "r", "links": [_LINK]}),)),
    Decoder("config", partial(decode_config, name="c"), (_json({"k": "v"}),)),
    Decoder("manifest", parse_manifests, (_MANIFEST,)),
    Decoder(
        "stored application",
        partial(StoredApplication.decode, "app"),
        (_json({"manifests": {"v1": {"metadata": {"name": "app"}}}, "deployed_version": "v1"}),),
    ),
    Decoder("status", StatusReport.from_json, (_json(_STATUS),)),
    Decoder("manifest event", announced_name, (_json({"data": {"name": "app"}}),)),
    Decoder("quantity of bytes", _text(quantities.parse_bytes), (b"64MiB", b"1000000", b"9" * 400)),
    Decoder("quantity of seconds", _text(quantities.parse_seconds), (b"500ms", b"9" * 400 + b"h")),
    Decoder("subject control", _text(subjects.parse_control), (b"wasmbus.ctl.v1.default.component.scale.N",)),
    Decoder("subject event", _text(subjects.parse_event), (b"wasmbus.evt.default.host_started",)),
    Decoder("subject wadm", _text(subjects.parse_wadm), (b"wadm.api.default.model.get.app",)),
    Decoder("subject beat", _text(subjects.parse_beat), (b"trellis.v1.default.beat.N",)),
    Decoder("subject of a bucket", _text(subjects.parse_kv), (b"$KV.LATTICEDATA_default.COMPONENT_a",)),
    Decoder("host id", _text(decode_public_key), (_KEY.id.encode(),)),
    Decoder("host seed", _text(decode_seed), (_KEY.seed.encode(),)),
    Decoder("headers of a delivery", kv_watch.parse_headers, (b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n",)),
    Decoder("reply of a delivery", _text(kv_watch.parse_delivery), (b"$JS.ACK.S.C.1.2.3.4.5",)),
    Decoder("headers of a message", direct.parse_headers, (b"NATS/1.0 503\r\nTrellis: 1 ok\r\n\r\n",)),
    Decoder(
        "head of a call",
        lambda data: headers.parse_request(_headers(data)),
        (b"1 call 2000 a default wasi:keyvalue/store@0.2.0 get",),
    ),
    Decoder("head of a reply", lambda data: headers.parse_reply(_headers(data)), (b"1 ok", b"1 accepted N")),
    Decoder("trace context", _text(parse_traceparent), (b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",)),
    Decoder("frame", _frame, (frames.data(0, b"chunk"), frames.end(1, [("a", b"b")]), frames.credit(9))),
    Decoder("stream reference", _stream_reference, (dumps({"head": b"x", "size": 3}),)),
    Decoder("error", lambda data: from_wire(loads(data)), (dumps({"code": "NotFound", "message": "m"}),)),
    Decoder("arguments", FuncCodec(_FUNC).decode_args, (dumps([_ANY_VALUE]),)),
    Decoder("result", FuncCodec(_FUNC).decode_result, (dumps(_ANY_VALUE),)),
    Decoder("request over the lattice", FuncCodec(HANDLE_TYPE).decode_args, ()),
    Decoder("value", lambda data: Codec(_ANY).decode(loads(data), DATA_ONLY), (dumps(_ANY_VALUE),)),
    Decoder("value in JSON", _json_value, (_json({**_ANY_VALUE, "outcome": {"ok": "text"}}),)),
    Decoder("interface", _interface, (_json(_INTERFACE),)),
    Decoder(
        "shared routes",
        lambda data: announcements.decode(data, ("127.0.0.1", 8000)),
        (_json({"member": "m", "revision": 1, "routes": [{"link": ["a", "b", "wasi", "http", "d"], "since": 1}]}),),
    ),
    Decoder("key of a bucket", _text(decode_key), (b"a_20b",)),
    Decoder("record of a running lattice", _text(record.decode), (record.encode(_RECORD).encode(),)),
)
