"""What hosts tell to whoever asks: logs, events, and calls, on their own and over the lattice."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import components
from tests.host.support import PATIENCE, Operator, image, running_host
from trellis_lattice.bus.connection import Connection
from trellis_lattice.events import HostStarted
from trellis_lattice.follow.client import Feed, follow_feed, gather_recent
from trellis_lattice.follow.records import CallFilter, LogFilter
from trellis_lattice.follow.subjects import CALLS, EVENTS, LOGS, recent
from trellis_lattice.wit.types import FuncType, Primitive

TEXT = Primitive.STRING
GREET = FuncType((("name", TEXT),), TEXT)
SAY = FuncType((("text", TEXT),))


async def until(feed: Feed, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first record that fits."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for record in (await feed.next()).records:
                if fits(dict(record)):
                    return dict(record)


async def test_a_call_is_told_once_whichever_way_it_goes(
    nats_server: str, lattice: str, tmp_path: Path, operator: Operator, connection: Connection
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as host:
        await operator.start_component(host, "greeter", image(tmp_path, "greeter", components.greeter()))
        await operator.put_link("caller", "greeter", "demo:greet", "greeter")
        await operator.start_component(host, "caller", image(tmp_path, "caller", components.greet_caller()))
        wants = CallFilter(frozenset({"caller"}), payloads=True)
        async with follow_feed(connection, lattice, CALLS, wants) as feed:
            assert (await feed.next()).host == host.state.host_id, "a first lease is answered"
            assert await operator.call("caller", "test:caller/caller@0.1.0", "greet", GREET, "Ada")
            told: dict[str, dict[str, Any]] = {}
            async with asyncio.timeout(PATIENCE):
                while len(told) < 2:
                    for record in (await feed.next()).records:
                        assert record["route"] not in told
                        told[record["route"]] = dict(record)
        assert (told["lattice"]["source"], told["lattice"]["target"]) == ("test", "caller")
        assert told["lattice"]["args"] == '["Ada"]'
        assert told["lattice"]["request_bytes"] == 5
        assert (told["local"]["source"], told["local"]["target"], told["local"]["function"]) == (
            "caller",
            "greeter",
            "greet",
        )
        assert told["local"]["outcome"] == "ok"
        assert told["local"]["duration"] <= told["lattice"]["duration"]
        async with asyncio.timeout(PATIENCE):
            while host.workloads._router._calls.active:
                await asyncio.sleep(0.01)


async def test_failures_of_calls_are_told_as_well(
    nats_server: str, lattice: str, tmp_path: Path, operator: Operator, connection: Connection
) -> None:
    async with running_host(nats_server, lattice, tmp_path) as host:
        await operator.start_component(host, "faults", image(tmp_path, "faults", components.faults()))
        async with follow_feed(connection, lattice, CALLS, CallFilter(frozenset({"faults"}))) as feed:
            await feed.next()
            call = operator.call("faults", "test:faults/faults@0.1.0", "trap", FuncType(()))
            [error] = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(error, Exception)
            record = await until(feed, lambda record: record["function"] == "trap")
        assert record["outcome"] == "invocation-failed"
        assert "args" not in record, "nobody asked for payloads"


async def test_each_host_tells_its_own_log_and_events(
    nats_server: str,
    lattice: str,
    tmp_path: Path,
    operator: Operator,
    connection: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "trellis")
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two") as two,
    ):
        await operator.start_component(one, "talker", image(tmp_path, "logger", components.logger()))
        wants = LogFilter(frozenset({"talker"}))
        async with follow_feed(connection, lattice, LOGS, wants) as feed:
            await feed.next()
            await operator.call("talker", "test:logger/logger@0.1.0", "to-stdout", SAY, "hello")
            record = await until(feed, lambda record: record["source"] == "stdout")
        assert (record["message"], record["component"], record["host"]) == ("hello", "talker", one.state.host_id)
        told = await gather_recent(connection, lattice, LOGS, wants, timeout=PATIENCE, hosts=2)
        said = {each.host: [record["message"] for record in each.records] for each in told}
        assert "hello" in said[one.state.host_id]
        assert said[two.state.host_id] == []
        events = await gather_recent(connection, lattice, EVENTS, {}, timeout=PATIENCE, hosts=2)
        kinds = {each.host: [record["type"].rpartition(".")[2] for record in each.records] for each in events}
        assert kinds[two.state.host_id] == [HostStarted.kind]
        assert kinds[one.state.host_id] == [HostStarted.kind, "component_scaled"]
        for since, some in ((600, True), (1e-6, False)):
            wanted = {"since": since}
            aged = await gather_recent(connection, lattice, EVENTS, wanted, timeout=PATIENCE, hosts=2)
            assert [bool(each.records) for each in aged] == [some, some]


async def test_nonsense_is_answered_with_a_reason(
    nats_server: str, lattice: str, tmp_path: Path, connection: Connection
) -> None:
    async with running_host(nats_server, lattice, tmp_path):
        for kind in (LOGS, EVENTS):
            for payload in (
                b"nonsense",
                b"[]",
                b'{"level": "loud"}' if kind == LOGS else b'{"since": "x"}',
                b"[" * 100_000,
            ):
                loop = asyncio.get_running_loop()
                answer = await connection.request(recent(lattice, kind), payload, deadline=loop.time() + PATIENCE)
                assert json.loads(answer.data)["error"]
        wants = LogFilter()
        object.__setattr__(wants, "level", "loud")
        async with follow_feed(connection, lattice, LOGS, wants) as feed:
            assert "no level" in (await feed.next()).error
