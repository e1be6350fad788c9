"""What a component prints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.wasi.world import World
from trellis_host.wasi import LogRecord
from trellis_host.wasi.logs import MAX_BYTES, MAX_LINE, MAX_RECORDS


def _print(world: World, data: bytes, to: str = "stdout") -> None:
    stream = world.call(f"wasi:cli/{to}", f"get-{to}")
    world.stream("[method]output-stream.blocking-write-and-flush", stream, data)


def test_lines_become_records_of_the_component() -> None:
    world = World()
    _print(world, b"one\r\ntw")
    _print(world, b"o\n\nthr")
    _print(world, b"oops\n", "stderr")
    assert world.records == [
        LogRecord("subject", "info", "stdout", "one"),
        LogRecord("subject", "info", "stdout", "two"),
        LogRecord("subject", "info", "stdout", ""),
        LogRecord("subject", "warn", "stderr", "oops"),
    ]
    world.context.close()
    world.context.close()
    assert world.lines[4:] == ["thr"]


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_how_the_bytes_are_cut_up_does_not_matter(pieces: list[bytes]) -> None:
    apart, together = World(), World()
    for piece in pieces:
        _print(apart, piece)
    _print(together, b"".join(pieces))
    apart.context.close()
    together.context.close()
    assert apart.lines == together.lines


def test_a_line_without_end_is_cut_once() -> None:
    world = World()
    for _ in range(100):
        _print(world, b"x" * 1000)
    _print(world, b"\nnext\n")
    assert world.lines == ["x" * MAX_LINE + "…", "next"]


def test_a_flood_is_counted_not_kept() -> None:
    world = World()
    for _ in range(50):
        _print(world, b"line\n" * 1000)
    world.context.close()
    assert len(world.records) == MAX_RECORDS + 1
    assert world.lines[-1].startswith(f"… {50_000 - MAX_RECORDS} more records")


def test_long_lines_use_up_the_budget_too() -> None:
    world = World()
    for _ in range(500):
        _print(world, b"x" * 4000 + b"\n")
    world.context.close()
    assert sum(len(line) for line in world.lines) < MAX_BYTES + 2 * MAX_LINE
    assert "more records" in world.lines[-1]


def test_logging_shares_the_budget_and_keeps_level_and_context() -> None:
    world = World()
    world.call("wasi:logging/logging", "log", "critical", "billing", "no money")
    assert world.records == [LogRecord("subject", "critical", "billing", "no money")]
    for _ in range(2 * MAX_RECORDS):
        world.call("wasi:logging/logging", "log", "debug", "", "again")
    _print(world, b"unheard\n")
    world.context.close()
    assert len(world.records) == MAX_RECORDS + 1
