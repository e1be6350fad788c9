"""WIT values as CBOR, compiled once per type (docs/protocol.md, "Values", has the mapping).

The laws of this file: nothing is decoded that the type does not allow, and nothing encoded; an error names the
path inside the value, the expected WIT type and what was found. Where the Python form and the CBOR form of a
type are the same (strings, integers, records of these …) the value is checked and passed on as it is.
Pure. A `list<u8>` of more than `MAX_BYTES` within one value is refused before anything is built of it: handing bytes
to a component costs 32 times their size, and cannot be interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import cbor2

from trellis_lattice.errors import PeerMisbehaved, RequestInvalid, TrellisError
from trellis_lattice.invocation.api import Handle
from trellis_lattice.wit._compile import compile_type
from trellis_lattice.wit._mismatch import MAX_BYTES, Mismatch, Pass, TooManyBytes
from trellis_lattice.wit.render import type_text
from trellis_lattice.wit.types import (
    Borrow,
    FuncType,
    ListType,
    Option,
    Own,
    Record,
    ResourceId,
    Result,
    Stream,
    Tuple,
    Variant,
    WitType,
)

__all__ = ["DATA_ONLY", "MAX_BYTES", "MAX_DEPTH", "Codec", "Crossing", "DataOnly", "FuncCodec", "dumps", "loads"]

MAX_DEPTH = 64
"""Deepest nesting of CBOR containers that is read."""


class Crossing(Protocol):
    """What becomes of the values that cannot cross as data: resources and streams.

    `lower_…` runs where a value leaves, `lift_…` where it arrives. None of them waits. They raise
    `TrellisError`, or `ValueError` with a text if the value is none that could cross.
    """

    def lower_resource(self, value: Any, resource: ResourceId, owned: bool) -> Handle: ...

    def lift_resource(self, handle: Handle, owned: bool) -> Any: ...

    def lower_stream(self, stream: Any) -> Any: ...

    def lift_stream(self, wire: Any) -> Any: ...


class DataOnly:
    """The crossing of those who hold no resources and carry no streams: only handles pass."""

    def lower_resource(self, value: Any, resource: ResourceId, owned: bool) -> Handle:
        if isinstance(value, Handle):
            return value
        raise ValueError(f"a handle of {resource}")

    def lift_resource(self, handle: Handle, owned: bool) -> Any:
        return handle

    def lower_stream(self, stream: Any) -> Any:
        raise ValueError("which cannot cross here")

    def lift_stream(self, wire: Any) -> Any:
        raise ValueError("which cannot cross here")


DATA_ONLY = DataOnly()


def dumps(value: Any) -> bytes:
    """Plain CBOR of a value that is CBOR-ready. Raises `RequestInvalid` for text that is not Unicode."""
    try:
        return cbor2.dumps(value)
    except (cbor2.CBOREncodeError, UnicodeEncodeError) as error:
        raise RequestInvalid(f"A value cannot be sent: {error}.") from error


def loads(data: bytes) -> Any:
    """One CBOR item. Raises `PeerMisbehaved` if it is malformed or nested deeper than `MAX_DEPTH`."""
    try:
        return cbor2.loads(data, max_depth=MAX_DEPTH, allow_duplicate_keys=False, strict_hashable_types=True)
    except (cbor2.CBORDecodeError, ValueError, OverflowError) as error:
        raise PeerMisbehaved(f"A message of {len(data)} bytes is not valid CBOR: {error}.") from error


class Codec:
    """Python values of one WIT type to CBOR-ready objects and back."""

    __slots__ = ("_forms", "type")

    def __init__(self, type: WitType) -> None:
        self.type = type
        self._forms = compile_type(type)

    @property
    def identical(self) -> bool:
        """Whether the CBOR-ready form is the Python value itself."""
        return self._forms.identical

    def encode(self, value: Any, crossing: Crossing = DATA_ONLY, *, what: str = "The value") -> Any:
        """Raises `RequestInvalid` with `path`, `expected`, `found`."""
        try:
            return self._forms.encode(value, Pass(crossing))
        except Mismatch as error:
            _refuse(RequestInvalid, what, error)

    def decode(self, wire: Any, crossing: Crossing = DATA_ONLY, *, what: str = "The value") -> Any:
        """Raises `PeerMisbehaved` with `path`, `expected`, `found`."""
        try:
            return self._forms.decode(wire, Pass(crossing))
        except Mismatch as error:
            _refuse(PeerMisbehaved, what, error)


class FuncCodec:
    """The arguments and the result of one function type, to and from the bytes of a message.

    Wrong arguments are the caller's (`RequestInvalid`), a wrong result is the callee's (`PeerMisbehaved`), on
    whichever side it is noticed. `where` goes in front of an error's text.
    """

    __slots__ = ("_params", "_result", "data_only", "type")

    def __init__(self, type: FuncType) -> None:
        self.type = type
        self.data_only = not any(map(_crosses, (*(of for _, of in type.params), type.result)))
        """No value of this type holds a resource or a stream."""
        self._params = [(name, compile_type(param)) for name, param in type.params]
        self._result = None if type.result is None else compile_type(type.result)

    def encode_args(self, args: Sequence[Any], crossing: Crossing = DATA_ONLY, *, where: str = "") -> bytes:
        self._count(args, where)
        wire = []
        for (name, forms), value in zip(self._params, args, strict=True):
            try:
                wire.append(forms.encode(value, Pass(crossing)))
            except Mismatch as error:
                _refuse(RequestInvalid, f"{where}Argument `{name}`", error)
        return dumps(wire)

    def decode_args(self, data: bytes, crossing: Crossing = DATA_ONLY, *, where: str = "") -> list[Any]:
        try:
            wire = loads(data)
        except PeerMisbehaved as error:
            raise RequestInvalid(f"{where}{error.message}") from error
        if type(wire) is not list:
            raise RequestInvalid(f"{where}The arguments are not a CBOR array.")
        self._count(wire, where)
        for index, (name, forms) in enumerate(self._params):
            try:
                wire[index] = forms.decode(wire[index], Pass(crossing))
            except Mismatch as error:
                _refuse(RequestInvalid, f"{where}Argument `{name}`", error)
        return wire

    def encode_result(self, value: Any, crossing: Crossing = DATA_ONLY, *, where: str = "") -> bytes:
        try:
            if self._result is None:
                if value is not None:
                    raise Mismatch("no value", value)
                return b"\xf6"
            return dumps(self._result.encode(value, Pass(crossing)))
        except Mismatch as error:
            _refuse(PeerMisbehaved, f"{where}The result", error)
        except RequestInvalid as error:
            raise _as_peers(error) from error

    def decode_result(self, data: bytes, crossing: Crossing = DATA_ONLY, *, where: str = "") -> Any:
        wire = loads(data)
        try:
            if self._result is None:
                if wire is not None:
                    raise Mismatch("no value", wire)
                return None
            return self._result.decode(wire, Pass(crossing))
        except Mismatch as error:
            _refuse(PeerMisbehaved, f"{where}The result", error)

    def _count(self, args: Sequence[Any], where: str) -> None:
        if len(args) != len(self._params):
            names = ", ".join(f"{name}: {type_text(type)}" for name, type in self.type.params)
            raise RequestInvalid(
                f"{where}Expected {len(self._params)} argument(s) ({names}), got {len(args)}.",
                expected=len(self._params),
                found=len(args),
            )


def _as_peers(error: RequestInvalid) -> TrellisError:
    """A result that cannot be sent is the callee's fault, except for its size."""
    return error if "limit" in error.fields else PeerMisbehaved(error.message, **error.fields)


def _crosses(type: WitType | None) -> bool:
    """Whether resources or streams may be in a value of the type."""
    match type:
        case Own() | Borrow() | Stream():
            return True
        case ListType(element=inner) | Option(some=inner):
            return _crosses(inner)
        case Result():
            return _crosses(type.ok) or _crosses(type.err)
        case Tuple():
            return any(map(_crosses, type.items))
        case Record():
            return any(_crosses(of) for _, of in type.fields)
        case Variant():
            return any(_crosses(of) for _, of in type.cases)
        case _:
            return False


def _refuse(family: type[TrellisError], what: str, error: Mismatch) -> NoReturn:
    if isinstance(error, TooManyBytes):
        raise RequestInvalid(
            f"{what} holds {error.size} bytes of list<u8>; a single value may hold {MAX_BYTES}.",
            remedy="Send it in parts, or as a stream.",
            path=error.path,
            size=error.size,
            limit=MAX_BYTES,
        ) from None
    place = f"{what} at {error.path}" if error.path else what
    raise family(
        f"{place}: expected {error.expected}, found {error.found}.",
        path=error.path,
        expected=error.expected,
        found=error.found,
    ) from None
