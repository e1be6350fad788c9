"""`trellis doctor`: the judging by examples, the looking against real servers."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from trellis_cli.connecting import Target, find_target
from trellis_cli.doctor.checks import Diagnosis, diagnose
from trellis_cli.doctor.facts import Beats, Facts, HostFacts, LocalFacts, Problem, StreamFacts
from trellis_cli.doctor.gathering import fix_replicas, gather
from trellis_cli.settings import Settings
from trellis_lattice.bus.connection import Connection, ConnectionSettings
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv_jetstream import open_bucket

from .documented import documented
from .hosts import host_on
from .servers import cluster_of, running, single, soon

ONE = {"config": {"num_replicas": 1}, "cluster": {"name": "c", "replicas": []}}
SOUND = Facts(
    "nats://n:4222",
    "default",
    "1.0.0",
    1_000_000.0,
    server={"max_payload": 1 << 20},
    pings=3,
    account={"storage": 1, "limits": {"max_storage": 100}},
    streams=(StreamFacts("KV_X", {"config": {"num_replicas": 1}, "cluster": {"leader": "n"}}),),
    hosts=(HostFacts("N1", "one", "1.0.0", True, 0.5),),
    beats=(Beats("N1", frozenset({1})),),
    scheduler="N1",
    scheduler_renews=True,
)
DAY = 86_400.0


def codes(facts: Facts) -> list[tuple[str, str]]:
    return [(one.level, one.code) for one in diagnose(facts) if one.level != "ok"]


def test_what_is_sound_is_called_sound() -> None:
    assert codes(SOUND) == []
    assert {one.level for one in diagnose(SOUND)} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"round_trip": 0.5}, ("warning", "nats-slow")),
        ({"certificate_until": SOUND.now + 5 * DAY}, ("warning", "certificate-expires")),
        ({"certificate_until": SOUND.now - DAY}, ("error", "certificate-expires")),
        ({"pings": 1}, ("warning", "nats-pings-rarely")),
        ({"server": {"max_payload": 1000}}, ("warning", "nats-max-payload")),
        ({"account": None, "no_jetstream": Problem("none")}, ("error", "no-jetstream")),
        ({"account": {"storage": 90, "limits": {"max_storage": 100}}}, ("warning", "jetstream-nearly-full")),
        ({"account": {"storage": 100, "limits": {"max_storage": 100}}}, ("error", "jetstream-nearly-full")),
        ({"streams": (StreamFacts("KV_X", None),)}, ("warning", "stream-missing")),
        ({"streams": (StreamFacts("KV_X", ONE),)}, ("warning", "few-replicas")),
        ({"hosts": (), "scheduler": None}, ("error", "no-hosts")),
        ({"hosts": (HostFacts("N1", "one", "0.9.0", True),)}, ("warning", "version-skew")),
        ({"hosts": (HostFacts("N1", "one", "1.4.0", False),)}, ("warning", "foreign-hosts")),
        ({"hosts": (HostFacts("N1", "one", "1.0.0", True, -90.0),)}, ("warning", "clock-skew")),
        ({"beats": (Beats("N1", frozenset({1, 2})),)}, ("error", "duplicate-host")),
        ({"scheduler": None}, ("error", "no-scheduler")),
        ({"scheduler_renews": False}, ("error", "no-scheduler")),
        ({"refusals": (("publish", "a.b"),)}, ("warning", "not-permitted")),
        ({"local": LocalFacts(engine=Problem("no"))}, ("error", "engine")),
        ({"local": LocalFacts(unwritable=("/x",))}, ("error", "not-writable")),
        ({"local": LocalFacts(free_bytes=1)}, ("warning", "disk-nearly-full")),
        ({"local": LocalFacts(otlp="http://x", otlp_reached=False)}, ("warning", "otlp-unreachable")),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], found: tuple[str, str]) -> None:
    facts = replace(SOUND, **changes)  # type: ignore[arg-type]
    assert codes(facts) == [found]
    assert all(
        one.remedy for one in diagnose(facts) if one.level != "ok" and one.code not in ("engine", "no-jetstream")
    )


def target(url: str) -> Target:
    return find_target(Settings(nats_url=url, environ={}))


async def examine(url: str, folder: Path) -> tuple[Facts, list[Diagnosis]]:
    facts = await gather(target(url), "0.1.0", folder, {}, timeout=10)
    return facts, diagnose(facts)


async def test_a_lattice_that_is_well(tmp_path: Path) -> None:
    node = single(tmp_path / "n", 'ping_interval: "1s"')
    async with running(node), host_on(ConnectionSettings(urls=(node.url,)), tmp_path) as host:
        facts, findings = await examine(node.url, tmp_path)
    assert [one for one in findings if one.level == "error"] == []
    assert facts.scheduler == host.state.host_id
    assert facts.scheduler_renews
    assert [one.id for one in facts.hosts] == [host.state.host_id]
    assert "nats-pings" in {one.code for one in findings}


async def test_a_server_that_pings_rarely_and_one_that_is_away(tmp_path: Path) -> None:
    node = single(tmp_path / "n")
    async with running(node):
        _, findings = await examine(node.url, tmp_path)
        assert {"nats-pings-rarely", "no-hosts"} <= {one.code for one in findings}
    facts, findings = await examine(node.url, tmp_path)
    assert facts.unreachable is not None
    assert "nats-unreachable" in {one.code for one in findings}


async def test_copies_are_missed_and_made(tmp_path: Path) -> None:
    nodes = cluster_of(tmp_path, documented("cluster"))
    async with running(*nodes):
        connection = await Connection.connect(ConnectionSettings(urls=[nodes[0].url]), timeout=10)
        try:
            await open_bucket(connection, "LATTICEDATA_default", deadline=soon(40))
            jetstream = JetStream(connection)
            info = await jetstream.call("STREAM.INFO.KV_LATTICEDATA_default", deadline=soon())
            few = {**info["config"], "num_replicas": 1}
            await jetstream.call("STREAM.UPDATE.KV_LATTICEDATA_default", few, deadline=soon())
        finally:
            await connection.aclose()
        facts, findings = await examine(nodes[1].url, tmp_path)
        assert "few-replicas" in {one.code for one in findings}
        assert await fix_replicas(target(nodes[1].url), facts, timeout=10) == {"KV_LATTICEDATA_default": 3}
    assert facts.now <= time.time()
