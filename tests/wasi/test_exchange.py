"""HTTP requests answered by real components."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures import components
from tests.wasi.conftest import Subject
from tests.wasi.world import World
from tools.build import BUILD
from trellis_host.engine import Engine, EngineSettings
from trellis_host.wasi import WasiImports
from trellis_lattice.errors import DeadlineExceeded, InvocationFailed, TrellisError, Unavailable
from trellis_lattice.streams import BytesBody, Pipe, read_all


@pytest.mark.parametrize("make", [components.http_hello_wat, components.http_hello_c])
async def test_a_small_answer_comes_whole_and_without_a_task(load: Any, make: Any, owner: asyncio.TaskGroup) -> None:
    subject: Subject = await load(make())
    whole = 0
    for _ in range(50):
        response = await subject.request(World(owner), "/")
        assert response.status == 200
        whole += type(response.body) is BytesBody
        assert (await read_all(response.body, 100)).startswith(b"Hello")
    assert whole > 0
    await subject.ended(50)


async def test_status_headers_and_path(cases: Subject, owner: asyncio.TaskGroup) -> None:
    response = await cases.request(World(owner), "/status/418")
    assert response.status == 418
    assert response.headers == [("content-type", b"text/plain")]
    assert (await cases.request(World(owner), "/nowhere")).status == 404


async def test_bodies_stream_both_ways_while_the_component_runs(cases: Subject, owner: asyncio.TaskGroup) -> None:
    upload = Pipe()
    response = await cases.request(World(owner), "/echo", upload)
    for word in (b"one", b"two", b"three"):
        upload.write(word)
        assert await response.body.read(100) == word
    assert cases.over == 0
    upload.end()
    assert await response.body.read(100) == b""
    await cases.ended(1)


async def test_a_large_body_passes_in_bounded_pieces(cases: Subject, owner: asyncio.TaskGroup) -> None:
    data = bytes(range(256)) * 2000
    response = await cases.request(World(owner), "/echo", data)
    assert isinstance(response.body, Pipe)
    assert response.body.room + 64 * 1024 >= response.body.capacity
    assert await read_all(response.body, len(data)) == data
    await cases.ended(1)


@settings(max_examples=25, deadline=None)
@given(
    pieces=st.lists(st.binary(max_size=20_000), max_size=12),
    capacity=st.integers(1, 70_000),
    reads=st.integers(1, 70_000),
)
def test_whatever_goes_in_comes_out(pieces: list[bytes], capacity: int, reads: int) -> None:
    asyncio.run(_echoed(pieces, capacity, reads))


async def _echoed(pieces: list[bytes], capacity: int, reads: int) -> None:
    upload, received = Pipe(capacity), b""

    async def feed() -> None:
        for piece in pieces:
            await upload.drain()
            upload.write(piece)
        upload.end()

    engine = Engine(EngineSettings(max_in_flight=4, cache_dir=BUILD / "test-code"))
    async with asyncio.TaskGroup() as group:
        subject = Subject((await engine.load(components.http_cases())).link(WasiImports()))
        group.create_task(feed())
        response = await subject.request(World(group), "/echo", upload)
        while chunk := await response.body.read(reads):
            assert len(chunk) <= reads
            received += chunk
        await subject.ended(1)
    await engine.aclose()
    assert received == b"".join(pieces)


async def test_a_reader_that_is_slow_stops_the_component(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    response = await probe.request(world, "/stream/1000")
    while "full" not in world.lines:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert isinstance(response.body, Pipe)
    assert response.body.room == 0
    assert probe.over == 0
    assert len(await read_all(response.body, 1 << 30)) == 1000 * 4096
    await probe.ended(1)


async def test_trailers_go_through(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    response = await probe.request(world, "/trailers", BytesBody(b"abc", [("x-sum", b"6")]))
    assert await read_all(response.body, 10) == b"abc"
    assert await response.body.trailers() == [("x-sum", b"6")]


async def test_no_trailers_go_through_as_none(probe: Subject, owner: asyncio.TaskGroup) -> None:
    upload = Pipe()
    response = await probe.request(World(owner), "/trailers", upload)
    upload.write(b"abc")
    upload.end()
    assert await read_all(response.body, 10) == b"abc"
    assert await response.body.trailers() is None


async def test_no_response_is_an_internal_error(cases: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    response = await cases.request(world, "/silent")
    assert response.status == 500
    await cases.ended(1)
    assert world.lines == ["the component returned without setting a response"]


async def test_an_error_code_becomes_a_status(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    response = await probe.request(world, "/error")
    assert response.status == 403
    assert "HTTP-request-denied" in world.lines[0]


async def test_a_trap_before_the_response_is_the_callers_error(cases: Subject, owner: asyncio.TaskGroup) -> None:
    with pytest.raises(InvocationFailed):
        await cases.request(World(owner), "/trap")
    await cases.ended(1)


async def test_a_trap_right_after_the_response_never_looks_like_an_answer(
    cases: Subject, owner: asyncio.TaskGroup
) -> None:
    with pytest.raises(InvocationFailed):
        await cases.text(World(owner), "/late-trap")


async def test_a_trap_after_the_response_breaks_the_body(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner, config={"trap": "1"})
    upload = Pipe()
    response = await probe.request(world, "/trap-after-body", upload)
    assert await response.body.read(100) == b"so far"
    upload.end()
    with pytest.raises(InvocationFailed):
        await read_all(response.body, 100)
    await probe.ended(1)
    assert isinstance(world.context.exchange.error, InvocationFailed)


@pytest.mark.parametrize("path", ["/short", "/long", "/dropped"])
async def test_a_body_that_is_not_as_declared_never_looks_whole(
    probe: Subject, path: str, owner: asyncio.TaskGroup
) -> None:
    world = World(owner)
    with pytest.raises(TrellisError):
        await probe.text(world, path)
    await probe.ended(1)
    assert world.lines == {"/short": ["taken", "wrong"], "/long": ["refused", "wrong"], "/dropped": []}[path]


async def test_exit_without_a_response_fails_and_after_one_does_not(probe: Subject, owner: asyncio.TaskGroup) -> None:
    for path in ("/exit/0", "/exit/1"):
        with pytest.raises(InvocationFailed, match="exit"):
            await probe.request(World(owner), path)
    assert await probe.text(World(owner), "/bye") == "bye"


async def test_work_after_the_response_goes_on_and_is_waited_for(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    response = await probe.request(world, "/after/20")
    assert await read_all(response.body, 10) == b"done"
    await response.body.aclose()
    await probe.ended(1)
    assert world.lines == ["late"]
    assert world.context.exchange.error is None


async def test_closing_the_body_early_ends_the_component(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    response = await probe.request(world, "/stream/1000000")
    assert await response.body.read(10)
    await response.body.aclose()
    await probe.ended(1)
    assert isinstance(world.context.exchange.error, Unavailable)


@pytest.mark.parametrize("turns", [1, 2, 3, 10])
async def test_a_client_that_stops_waiting_ends_the_component(
    cases: Subject, owner: asyncio.TaskGroup, turns: int
) -> None:
    world, upload = World(owner), Pipe()
    request = asyncio.create_task(cases.request(world, "/wait/3600000", upload))
    for _ in range(turns):
        await asyncio.sleep(0)
    request.cancel()
    await asyncio.wait([request])
    assert request.cancelled()
    await cases.ended(1)
    assert upload.reader_gone
    assert isinstance(world.context.exchange.error, Unavailable)


async def test_the_deadline_holds_for_the_body_too(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    with pytest.raises(DeadlineExceeded):
        await probe.text(world, "/stream/1000000", timeout=0.1)
    await probe.ended(1)
    assert isinstance(world.context.exchange.error, DeadlineExceeded)


async def test_poll_answers_what_is_ready(probe: Subject, owner: asyncio.TaskGroup) -> None:
    upload = Pipe()
    assert await probe.text(World(owner), "/poll", upload) == "1 1"
    upload = Pipe()
    upload.write(b"x")
    assert await probe.text(World(owner), "/poll", upload) in ("2 12", "12 12")


async def test_the_world_is_what_the_settings_say(probe: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(
        owner,
        config={"greeting": "hello"},
        environment={"LANG": "C", "X": "y"},
        arguments=("prog", "-v"),
        monotonic=lambda: 42,
        random=lambda size: b"abcdefgh"[:size],
    )
    number = int.from_bytes(b"abcdefgh", "little")
    assert await probe.text(world, "/world") == f"prog -v LANG C X y some hello none 42 {number} abc"
    assert [(record.level, record.source, record.message) for record in world.records] == [
        ("info", "probe", "first"),
        ("critical", "alarm", "second"),
    ]


async def test_sockets_and_files_are_denied(probe: Subject, owner: asyncio.TaskGroup) -> None:
    assert await probe.text(World(owner), "/denied") == "1 1 0"


async def test_a_flood_of_output_harms_nobody(cases: Subject, owner: asyncio.TaskGroup) -> None:
    world = World(owner)
    assert await cases.text(world, "/flood/1000000") == "flooded\n"
    assert len(world.records) == 1001
    assert "more records" in world.lines[-1]
