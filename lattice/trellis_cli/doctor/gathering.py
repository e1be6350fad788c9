"""Finds out what `trellis doctor` judges. What cannot be asked is left open: that is a finding, not a failure."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trellis_cli.connecting import Target
from trellis_cli.doctor.facts import Beats, Facts, HostFacts, LocalFacts, Problem, StreamFacts
from trellis_lattice import subjects
from trellis_lattice.bus.connection import Connection, Message
from trellis_lattice.bus.jetstream import JetStream
from trellis_lattice.bus.kv_jetstream import open_bucket
from trellis_lattice.bus.lease_rules import LeaseRecord
from trellis_lattice.bus.membership import Beat
from trellis_lattice.bus.streams import has_all_replicas, raise_replicas
from trellis_lattice.client import LatticeClient
from trellis_lattice.errors import NotFound, TrellisError

__all__ = ["fix_replicas", "gather"]

_LISTEN = 3.3
"""Seconds: three pings of a server with the advised settings, three beats of each host, two terms of a lease."""
_LEASE = "lease.reconciler"
_OTLP = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def streams_of(lattice: str) -> tuple[str, ...]:
    """The streams that a lattice keeps its state in."""
    buckets = (subjects.lattice_bucket(lattice), subjects.config_bucket(lattice), subjects.trellis_bucket(lattice))
    return (*(subjects.kv_stream(name) for name in (*buckets, "wadm_manifests")), "wadm_status")


async def gather(target: Target, version: str, data_dir: Path, environ: Mapping[str, str], *, timeout: float) -> Facts:
    """Everything, within `timeout` seconds for each question."""
    place = target.place
    facts = Facts(place.nats_url, place.lattice, version, time.time(), local=await _local(data_dir, environ, timeout))
    try:
        settings = target.connection("trellis-doctor")
        connection = await Connection.connect(settings, timeout=timeout)
    except TrellisError as error:
        return replace(facts, unreachable=_problem(error), url=_shown(target))
    try:
        async with await LatticeClient.connect(
            replace(settings, ping_interval=600.0), place.lattice, timeout=timeout
        ) as quiet:
            return await _ask(facts, connection, quiet.connection, timeout)
    finally:
        await connection.aclose()


async def _ask(facts: Facts, connection: Connection, quiet: Connection, timeout: float) -> Facts:
    loop = asyncio.get_running_loop()
    until = loop.time() + _LISTEN
    started = loop.time()
    await connection.flush(deadline=started + timeout)
    facts = replace(facts, url=connection.url, round_trip=loop.time() - started, server=dict(connection.server_info))
    if connection.certificate_until is not None:
        facts = replace(facts, certificate_until=ssl.cert_time_to_seconds(connection.certificate_until))
    heard: dict[str, set[tuple[int, int]]] = {}

    def hear(message: Message) -> None:
        address = subjects.parse_beat(message.subject)
        beat = Beat.decode(message.data, address[1]) if address is not None else None
        if beat is not None and len(heard) < 10_000:
            heard.setdefault(beat.host, set()).add((beat.boot, beat.sequence))

    await connection.subscribe(subjects.beats(facts.lattice), hear)
    jetstream = JetStream(connection)
    facts = await _jetstream(facts, jetstream, timeout)
    before = await _lease(connection, facts.lattice, timeout)
    client = LatticeClient(connection, facts.lattice)
    with suppress(TrellisError):
        infos = await client.hosts(timeout=timeout)
        asked = time.time()
        await asyncio.sleep(max(0.0, until - loop.time()))
        facts = replace(facts, hosts=tuple(_host(info, heard, asked) for info in infos))
    after = await _lease(connection, facts.lattice, timeout)
    return replace(
        facts,
        beats=tuple(Beats(host, frozenset(boot for boot, _ in seen)) for host, seen in heard.items()),
        pings=quiet.asked_alive,
        scheduler=after[0].holder if after is not None else None,
        scheduler_renews=before is not None and after is not None and before[1] != after[1],
        refusals=tuple(connection.refusals.all),
    )


def _host(info: Any, heard: Mapping[str, set[tuple[int, int]]], asked: float) -> HostFacts:
    boots = {boot for boot, _ in heard.get(info.id, ())}
    # It tells when it started, by its clock, and for how long it has run: so it tells what its clock says now.
    clock = max(boots) / 1000 + info.uptime_seconds - asked if boots and info.uptime_seconds else None
    ours = info.labels.get("host.impl") == "trellis"
    return HostFacts(info.id, info.friendly_name or info.id[:8], info.version or "", ours, clock)


async def _jetstream(facts: Facts, jetstream: JetStream, timeout: float) -> Facts:
    loop = asyncio.get_running_loop()
    try:
        account = await jetstream.call("INFO", deadline=loop.time() + timeout)
        found = []
        for name in streams_of(facts.lattice):
            try:
                info = await jetstream.call(f"STREAM.INFO.{name}", deadline=loop.time() + timeout)
            except NotFound:
                found.append(StreamFacts(name, None))
            else:
                found.append(StreamFacts(name, info))
    except TrellisError as error:
        return replace(facts, no_jetstream=_problem(error))
    return replace(facts, account=account, streams=tuple(found))


async def _lease(connection: Connection, lattice: str, timeout: float) -> tuple[LeaseRecord, int] | None:
    """Who holds the scheduler's lease, and the revision of that."""
    deadline = asyncio.get_running_loop().time() + timeout
    try:
        bucket = await open_bucket(connection, subjects.trellis_bucket(lattice), deadline=deadline, create=False)
        entry = await bucket.get(_LEASE, deadline=deadline)
    except TrellisError:
        return None
    record = LeaseRecord.decode(entry.value) if entry is not None else None
    return (record, entry.revision) if record is not None and entry is not None else None


async def fix_replicas(target: Target, facts: Facts, *, timeout: float) -> dict[str, int]:
    """Gives streams with too few copies as many as the cluster has room for; how many each has then."""
    raised: dict[str, int] = {}
    connection = await Connection.connect(target.connection("trellis-doctor"), timeout=timeout)
    try:
        for stream in facts.streams:
            if stream.info is not None and not has_all_replicas(stream.info):
                deadline = asyncio.get_running_loop().time() + timeout
                raised[stream.name] = await raise_replicas(JetStream(connection), stream.info, deadline=deadline)
    finally:
        await connection.aclose()
    return raised


async def _local(data_dir: Path, environ: Mapping[str, str], timeout: float) -> LocalFacts:
    endpoint = next((environ[name] for name in _OTLP if environ.get(name)), "")
    there = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    return LocalFacts(
        engine=await _engine(data_dir / "cache"),
        unwritable=() if os.access(there, os.W_OK) else (str(there),),
        free_bytes=shutil.disk_usage(there).free,
        data_dir=str(data_dir),
        otlp=endpoint,
        otlp_reached=not endpoint or await _listens(endpoint, timeout),
    )


async def _engine(cache: Path) -> Problem | None:
    """Whether the WebAssembly engine can be made on this machine."""
    from trellis_host.engine import Engine, EngineSettings

    try:
        engine = Engine(EngineSettings(max_in_flight=1, cache_dir=cache))
    except TrellisError as error:
        return _problem(error)
    await engine.aclose()
    return None


async def _listens(endpoint: str, timeout: float) -> bool:
    parts = urlsplit(endpoint)
    try:
        async with asyncio.timeout(timeout):
            port = parts.port or (443 if parts.scheme == "https" else 80)
            _, writer = await asyncio.open_connection(parts.hostname or "", port)
            writer.close()
    except (OSError, ValueError, TimeoutError):
        return False
    return True


def _problem(error: TrellisError) -> Problem:
    return Problem(error.message, error.remedy)


def _shown(target: Target) -> str:
    from trellis_lattice.bus.settings import without_secrets

    return ", ".join(without_secrets(url) for url in target.place.nats_url.split(","))
