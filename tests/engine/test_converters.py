"""Values of every WIT type there and back: host to component, component to host function, and back again."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trellis_host.engine import Engine, Limits, waiting
from trellis_host.engine.scalars import MAX_BYTE_VALUES
from trellis_lattice.errors import PeerMisbehaved, RequestInvalid
from trellis_lattice.wit.types import (
    Enum,
    Flags,
    ListType,
    Option,
    Primitive,
    Record,
    Result,
    Tuple,
    Variant,
    WitType,
)
from trellis_lattice.wit.values import Case, Err, Ok, Some

from .echo import echo_text, give_text
from .strategies import typed_values
from .support import interface, linked, soon

P = Primitive
relaxed = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=80)


MODES = ("at once", "waits, but has its value", "waits")


async def echo(engine: Engine, type: WitType, values: Any, *, mode: str = "at once") -> Any:
    """The values after both ways; what the host function saw must be equal too."""
    seen: list[Any] = []

    def remember(context: Any, xs: Any) -> Any:
        seen.append(xs)
        return xs

    async def remember_later(context: Any, xs: Any) -> Any:
        await asyncio.sleep(0)
        return remember(context, xs)

    functions = dict(zip(MODES, (remember, waiting(remember), waiting(remember_later)), strict=True))
    host = interface("host", {"echo": functions[mode]})
    component = await linked(engine, wasmtime.wat2wasm(echo_text(type)), host)
    direct = await component.call(component.export("", "direct"), [values], None, deadline=soon())
    through = await component.call(component.export("", "through"), [values], None, deadline=soon())
    assert seen == [values]
    assert through == direct
    return direct


async def give(engine: Engine, type: WitType, value: Any, flat: str | None = None) -> Any:
    """A value given by a host function and handed on by a component."""
    host = interface("host", {"give": lambda context: value})
    component = await linked(engine, wasmtime.wat2wasm(give_text(type, flat)), host)
    return await component.call(component.export("", "give"), [], None, deadline=soon())


@relaxed
@given(case=typed_values(), mode=st.sampled_from(MODES))
@example(case=(Option(Option(P.U8)), [None, Some(None), Some(3)]), mode=MODES[0])
@example(
    case=(Result(Result(None, P.STRING), Option(P.U32)), [Ok(Ok()), Ok(Err("x")), Err(None), Err(1)]), mode=MODES[2]
)
@example(case=(Flags(tuple(f"f{n}" for n in range(32))), [frozenset({"f31"}), frozenset()]), mode=MODES[0])
@example(case=(ListType(P.U8), [b"", b"\x00\xff", bytes(5000)]), mode=MODES[0])
@example(case=(P.CHAR, ["\0", "\U0010ffff", "é"]), mode=MODES[0])
@example(case=(P.F32, [math.inf, -math.inf, -0.0]), mode=MODES[0])
@example(case=(P.S64, [-(1 << 63), (1 << 63) - 1, -1]), mode=MODES[0])
@example(case=(P.U64, [(1 << 64) - 1]), mode=MODES[0])
async def test_every_type_there_and_back(engine: Engine, case: tuple[WitType, list[Any]], mode: str) -> None:
    type, values = case
    expected: Any = bytes(values) if type is P.U8 else values
    assert await echo(engine, type, expected, mode=mode) == expected


def test_every_kind_of_type_is_generated() -> None:
    """The random types are not silently narrow."""
    kinds = {"Enum", "Flags", "ListType", "Option", "Primitive", "Record", "Result", "Tuple", "Variant"}
    found: set[str] = set()

    @settings(max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(typed_values())
    def collect(case: tuple[WitType, list[Any]]) -> None:
        found.update(kind for kind in kinds if kind in repr(case[0]))

    collect()
    assert found == kinds


async def test_not_a_number_stays_one(engine: Engine) -> None:
    for type in (P.F32, P.F64):
        (value,) = await echo_any(engine, type, [math.nan])
        assert math.isnan(value)


async def echo_any(engine: Engine, type: WitType, values: Any) -> Any:
    host = interface("host", {"echo": lambda context, xs: xs})
    component = await linked(engine, wasmtime.wat2wasm(echo_text(type)), host)
    return await component.call(component.export("", "through"), [values], None, deadline=soon())


async def test_f32_is_rounded_to_what_it_can_hold(engine: Engine) -> None:
    (value,) = await echo_any(engine, P.F32, [0.1])
    assert value == struct.unpack("f", struct.pack("f", 0.1))[0]
    assert await echo_any(engine, P.F64, [3]) == [3.0]


_RECORD = Record((("a", P.STRING), ("b", Option(P.U8))))


@pytest.mark.parametrize(
    ("type", "value", "flat"),
    [
        (P.STRING, "grüße", None),
        (P.BOOL, True, "i32"),
        (P.S8, -128, "i32"),
        (P.U16, 65535, "i32"),
        (P.S32, -5, "i32"),
        (P.U64, (1 << 64) - 1, "i64"),
        (P.F32, 1.5, "f32"),
        (P.F64, -0.0, "f64"),
        (P.CHAR, "\U0001f600", "i32"),
        (Enum(("one", "two")), "two", "i32"),
        (Flags(("r", "w")), frozenset({"w"}), "i32"),
        (Result(None, None), Ok(), "i32"),
        (Result(None, None), Err(), "i32"),
        (Result(P.U8, None), Ok(7), None),
        (Result(P.U8, P.STRING), Err("why"), None),
        (Result(P.STRING, P.U8), Ok("text"), None),
        (Result(ListType(P.U8), P.U8), Ok(b"bytes"), None),
        (Result(P.F64, P.U8), Ok(2.5), None),
        (Option(P.U32), None, None),
        (Option(P.U32), 5, None),
        (Option(P.STRING), "x", None),
        (Option(Option(P.STRING)), Some(None), None),
        (ListType(P.STRING), ["a", "", "c"], None),
        (ListType(P.U8), bytes(range(256)) * 40, None),
        (ListType(P.S16), [-1, 2, -3], None),
        (ListType(P.F32), [0.5, -0.5], None),
        (ListType(Tuple((P.U8, P.STRING))), [(1, "x"), (2, "y")], None),
        (Tuple((P.U8, P.CHAR)), (1, "x"), None),
        (_RECORD, {"a": "x", "b": None}, None),
        (Variant((("none", None), ("some", _RECORD))), Case("some", {"a": "x", "b": 3}), None),
        (Variant((("none", None), ("some", _RECORD))), Case("none"), None),
    ],
)
async def test_every_kind_of_result_of_a_host_function(
    engine: Engine, type: WitType, value: Any, flat: str | None
) -> None:
    assert await give(engine, type, value, flat) == value


def nested(value: Any) -> Any:
    return {"items": [{"count": 1}, {"count": value}]}


_NESTED = Record((("items", ListType(Record((("count", P.U32),)))),))


@pytest.mark.parametrize(
    ("type", "values", "complaint"),
    [
        (_NESTED, [nested(2), nested("x")], r"args\.0\[1\]\.items\[1\]\.count: expected u32, got 'x'"),
        (_NESTED, [nested(-1)], r"count: expected u32 \(0 to 4294967295\), got -1"),
        (_NESTED, [{}], r"args\.0\[0\]: expected record of items, got one without items"),
        (_NESTED, [{"items": [], "more": 1}], r"got one with unknown more"),
        (_NESTED, [[]], r"expected record as dict, got \[\]"),
        (P.U8, [1], r"args\.0: expected list<u8> as bytes, got \[1\]"),
        (P.BOOL, [1], r"args\.0\[0\]: expected bool, got 1"),
        (P.S8, [128], r"expected s8 \(-128 to 127\), got 128"),
        (P.U16, [True], r"expected u16, got True"),
        (P.F64, ["1"], r"expected f64, got '1'"),
        (P.F64, [10**400], r"expected f64"),
        (P.CHAR, ["ab"], r"expected char \(text of one character\), got 'ab'"),
        (P.CHAR, ["\ud800"], r"no surrogate"),
        (P.STRING, ["\ud800"], r"no lone surrogates"),
        (P.STRING, [b"x"], r"expected string, got b'x'"),
        (Option(Option(P.U8)), [3], r"expected None or Some\(value\), got 3"),
        (Result(P.U8, None), [3], r"expected Ok\(value\) or Err\(value\), got 3"),
        (Result(P.U8, None), [Ok("x")], r"args\.0\[0\]\.ok: expected u8, got 'x'"),
        (Result(P.U8, None), [Err(3)], r"expected Err\(\) without value"),
        (Tuple((P.U8, P.U8)), [(1,)], r"expected tuple of 2, got \(1,\)"),
        (Tuple((P.U8, P.U8)), [(1, None)], r"args\.0\[0\]\.1: expected u8, got None"),
        (Enum(("one", "two")), ["three"], r"expected enum one \| two, got 'three'"),
        (Flags(("r", "w")), [{"x"}], r"expected flags of r, w, got \{'x'\}"),
        (Flags(("r", "w")), [["r"]], r"expected flags as frozenset"),
        (Variant((("a", P.U8), ("b", None))), [Case("c")], r"expected variant a \| b, got Case"),
        (Variant((("a", P.U8), ("b", None))), [Case("a", "x")], r"args\.0\[0\]\.a: expected u8, got 'x'"),
        (Variant((("a", P.U8), ("b", None))), [Case("b", 1)], r"expected no payload for case b, got 1"),
        (Variant((("a", P.U8), ("b", None))), ["b"], r"as Case, got 'b'"),
        (P.U32, "text", r"args\.0: expected list, got 'text'"),
    ],
)
async def test_wrong_values_are_named_by_their_place(
    engine: Engine, type: WitType, values: Any, complaint: str
) -> None:
    with pytest.raises(RequestInvalid, match=complaint):
        await echo_any(engine, type, values)
    assert engine.stats().in_flight == 0


async def test_a_wrong_number_of_arguments_names_the_parameters(engine: Engine) -> None:
    component = await linked(
        engine, wasmtime.wat2wasm(echo_text(P.U8)), interface("host", {"echo": lambda context, xs: xs})
    )
    with pytest.raises(RequestInvalid, match=r"direct takes 1 arguments \(xs\), got 2"):
        component.start(component.export("", "direct"), [b"", b""], None, deadline=soon())


async def test_more_than_two_mebibytes_of_bytes_are_refused_before_they_are_built(engine: Engine) -> None:
    host = interface("host", {"echo": lambda context, xs: bytes(MAX_BYTE_VALUES + 1)})
    component = await linked(engine, wasmtime.wat2wasm(echo_text(P.U8)), host)
    direct, through = component.export("", "direct"), component.export("", "through")
    with pytest.raises(RequestInvalid, match="at most 2097152 bytes of list<u8> in one value, got 2097153 bytes"):
        await component.call(direct, [bytes(MAX_BYTE_VALUES + 1)], None, deadline=soon())
    with pytest.raises(PeerMisbehaved, match="got 2097153 bytes"):
        await component.call(through, [b""], None, deadline=soon())


async def test_the_limit_of_bytes_holds_for_the_value_as_a_whole(engine: Engine) -> None:
    half = bytes(MAX_BYTE_VALUES // 2)
    with pytest.raises(RequestInvalid, match="got 2097153 bytes"):
        await echo_any(engine, ListType(P.U8), [half, half, b"x"])


async def test_large_values_pass(engine: Engine) -> None:
    data = bytes(range(256)) * 1024
    assert await echo_any(engine, P.U8, data) == data
    assert await echo_any(engine, P.U8, memoryview(data)[7:5000]) == data[7:5000]
    text = ["ü" * 100_000]
    assert await echo_any(engine, P.STRING, text) == text
    numbers = list(range(20_000))
    assert await echo_any(engine, P.U32, numbers) == numbers


async def test_a_failed_conversion_leaves_a_usable_sandbox(engine: Engine) -> None:
    host = interface("host", {"echo": lambda context, xs: xs})
    component = await linked(engine, wasmtime.wat2wasm(echo_text(P.STRING)), host)
    sandbox = await component.sandbox(None, Limits(), deadline=soon())
    direct = component.export("", "direct")
    with pytest.raises(RequestInvalid):
        await sandbox.call(direct, [["a", 1]], soon())
    assert await sandbox.call(direct, [["a", "b"]], soon()) == ["a", "b"]
    sandbox.close()


async def test_values_leave_nothing_behind(engine: Engine) -> None:
    """Results of calls, results of host functions, and values that fail half-way."""
    type = Variant((("rec", _RECORD), ("all", Result(ListType(_RECORD), Option(P.STRING)))))
    text = "x" * 2000
    good = [Case("all", Ok([{"a": text, "b": 1}] * 5)), Case("all", Err(text)), Case("rec", {"a": text, "b": None})]
    bad = [*good, Case("rec", {"a": text, "b": "wrong"})]
    answers: list[Any] = []

    def answer(context: Any, xs: Any) -> Any:
        return answers[0]

    component = await linked(engine, wasmtime.wat2wasm(echo_text(type)), interface("host", {"echo": answer}))
    direct, through = component.export("", "direct"), component.export("", "through")

    async def many(count: int) -> int:
        for _ in range(count):
            answers[:] = [good]
            assert await component.call(direct, [good], None, deadline=soon()) == good
            assert await component.call(through, [good], None, deadline=soon()) == good
            with pytest.raises(RequestInvalid):
                await component.call(direct, [bad], None, deadline=soon())
            answers[:] = [bad]
            with pytest.raises(PeerMisbehaved):
                await component.call(through, [good], None, deadline=soon())
        gc.collect()
        return int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1])

    await many(100)
    before = await many(200)
    assert await many(600) - before < 1024  # four megabytes; what is built is thirty
