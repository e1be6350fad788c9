"""Several that write the same, names that are none, and messages of a version that nobody knows: on real hosts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import components
from tests.host.support import Operator, eventually, image, running_host
from tests.host.test_v1_clients import ODD_NAMES, Client
from trellis_lattice import subjects
from trellis_lattice.bus.membership import Beat, Membership
from trellis_lattice.client import LatticeClient
from trellis_lattice.control import config, host, link
from trellis_lattice.errors import Conflict, RequestInvalid
from trellis_lattice.links import Link

WRITERS = 12


def a_link(source: str, target: str, name: str = "default") -> Link:
    return Link(
        source_id=source, target=target, name=name, wit_namespace="wasi", wit_package="keyvalue", interfaces=("store",)
    )


async def test_links_of_one_source_that_are_written_at_once_are_all_there(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """Two hosts take turns in answering: each write changes the same record."""
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two") as two,
    ):
        wanted = [a_link("source", f"target-{n}", f"name-{n}") for n in range(WRITERS)]
        answers = await asyncio.gather(*(operator.ask(link.PUT, each) for each in wanted))
        assert [each.message for each in answers if not each.success] == []
        for each in (one, two):
            await eventually(lambda each=each: len(each.shared.links.all()) == WRITERS)
            assert {found.target for found in each.shared.links.all()} == {found.target for found in wanted}


async def test_of_links_that_exclude_each_other_the_first_wins_and_the_others_are_told(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two"),
    ):
        wanted = [a_link("source", f"target-{n}") for n in range(WRITERS)]
        answers = await asyncio.gather(*(operator.ask(link.PUT, each) for each in wanted))
        [winner] = [each for each, answer in zip(wanted, answers, strict=True) if answer.success]
        refusals = [answer.error for answer in answers if not answer.success]
        await eventually(lambda: one.shared.links.all())

        assert len(refusals) == WRITERS - 1
        assert all(isinstance(error, Conflict) for error in refusals)
        assert [each.target for each in one.shared.links.all()] == [winner.target]
        heard = [await operator.heard("linkdef_set_failed") for _ in refusals]
        assert {event.data["target"] for event in heard} == {each.target for each in wanted} - {winner.target}


async def test_a_config_that_two_write_is_that_of_one_of_them(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with (
        running_host(nats_server, lattice, tmp_path, name="one") as one,
        running_host(nats_server, lattice, tmp_path, name="two") as two,
    ):
        written = [{"writer": str(n), f"key-{n}": "x" * n} for n in range(WRITERS)]
        answers = await asyncio.gather(*(operator.ask(config.PUT, values, "shared") for values in written))
        assert all(each.success for each in answers)
        stored = (await operator.ask(config.GET, None, "shared")).unwrap()
        assert stored in written
        for each in (one, two):
            await eventually(lambda each=each: each.shared.known_config(("shared",)) == stored)


NAMES_IN_SUBJECTS = [name for name in ODD_NAMES if name]


async def test_odd_names_of_configs_labels_and_hosts_are_refused_with_a_reason(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    client, typed = Client(operator), LatticeClient(operator.connection, lattice)
    async with running_host(nats_server, lattice, tmp_path) as one:
        me = one.state.host_id
        requests: list[tuple[str, Any]] = [
            ("config.put.a.b", {"k": "v"}),
            ("config.get.a.b", None),
            ("config.del.a*b", None),
            (f"config.put.{'x' * 1000}", {"k": "v"}),
            (f"label.put.{me}", {"key": "", "value": "v"}),
            (f"label.put.{me}", {"key": "x" * 10_000, "value": "v"}),
            (f"label.put.{me}", {"key": "k", "value": "x" * 10_000}),
            (f"label.del.{me}", {"key": "x" * 10_000}),
            (f"host.stop.{me}", {"host_id": "x" * 10_000, "timeout": 1}),
            (f"host.stays.{me}", {"workloads": "all"}),
            (f"host.part.{me}", {"snapshot": "x" * 10_000, "part": 0}),
            (f"host.part.{me}", {"snapshot": "", "part": -1}),
            (f"component.prepare.{me}", {"component_ref": "x" * 10_000}),
        ]
        answers = await asyncio.gather(*(client.ask(subject, request) for subject, request in requests))
        assert [each["success"] for each in answers] == [False] * len(requests)
        assert all(each["message"] and len(each["message"]) < 10_200 for each in answers)

        for name in NAMES_IN_SUBJECTS:
            if name != "../x":
                with pytest.raises(RequestInvalid):
                    await typed.inventory(name)
            with pytest.raises(RequestInvalid):
                await typed.put_config(name, {"k": "v"})
        assert (await operator.ask(host.GET, to=me)).success
        assert "k" not in one.state.labels


async def test_beats_of_an_unknown_version_and_what_is_none_harm_nobody(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """What a later version adds is passed over; what it says otherwise is no beat."""
    async with running_host(nats_server, lattice, tmp_path) as one:
        known = json.loads(Beat("NEW", 1, 1).encode())
        for payload in (
            b"",
            b"\xff" * 150,
            b"[]",
            json.dumps({**known, "boot": "yesterday"}).encode(),
            json.dumps({**known, "seq": -1}).encode(),
            json.dumps({**known, "more": "N" * 10_000}).encode(),
        ):
            await operator.connection.publish(subjects.beat(lattice, "NBAD"), payload)
        later = json.dumps({**known, "version": 2, "flags": ["dreaming"], "zone": {"a": 1}}).encode()
        await operator.connection.publish(subjects.beat(lattice, "NEW"), later)
        await operator.connection.publish(f"wasmbus.evt.{lattice}.host_heartbeat", b'{"specversion": "9.9"}')
        await eventually(lambda: "NEW" in one._members.members)

        assert "NBAD" not in one._members.members
        await operator.start_component(one, "echo", image(tmp_path, "echo", components.echo()))


async def test_clocks_of_hosts_differ_by_minutes(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    """When a process began is compared with another process of the same host alone."""
    async with (
        running_host(nats_server, lattice, tmp_path, name="one", boot=1_000_000_000_000) as one,
        running_host(nats_server, lattice, tmp_path, name="two", boot=1_000_000_600_000) as two,
    ):
        for each in (one, two):
            others = {one.state.host_id, two.state.host_id}
            await eventually(lambda each=each, others=others: others <= each._members.members.keys())


def test_a_host_whose_clock_was_set_back_is_known_again_once_the_old_process_is_gone() -> None:
    members = Membership()
    members.hear(Beat("N", 600_000, 7), 0.0)
    assert members.hear(Beat("N", 0, 1), 1.0) == []
    assert [each.kind.value for each in members.tick(0.0) + members.tick(0.2)] == []
    now = 0.2
    while "N" in members.members:
        now += 0.25
        members.tick(now)
    assert now <= members.timing.gone_after + 0.25
    assert [each.kind.value for each in members.hear(Beat("N", 0, 2), now)] == ["joined"]
