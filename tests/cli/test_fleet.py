"""Hosts that take no work, and hosts that give theirs away: `cordon`, `drain`, `uncordon`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import trellis
from tests.fixtures import components
from tests.host.support import Operator, eventually, image
from tests.host.test_changing import steady_calls
from tests.host.test_leaving import ANYWHERE, AT_HOME, MANIFEST, deploy, scheduling_host
from tests.wadm.manifests import application, component, group, manifest, spread
from tests.wadm.simulation import World, host
from trellis_cli.evacuation import Move, foretell
from trellis_cli.exits import ExitCode
from trellis_lattice.bus.connection import Connection
from trellis_lattice.errors import NotFound
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.observe import Sight
from trellis_wadm.planner.commands import ScaleComponent
from trellis_wadm.wishes import Wishes


def deployed(data: dict[str, object]) -> dict[str, StoredApplication]:
    found = manifest(data)
    return {found.name: StoredApplication(found.name).with_version(found).with_deployed(found.version)}


def test_what_would_move_and_what_stays() -> None:
    data = application("one", component("here", spread(2, group("a", zone="a"))), component("any", spread(2)))
    world = World.of(host("a", zone="a"), host("b", zone="b"))
    stored = deployed(data)
    world.settle(Wishes().of(stored))
    world.apply(ScaleComponent("a", "mine", "file:///mine.wasm", 1))
    moves, stays = foretell(Sight(world.observed(), stored), "a")

    assert moves == [Move("component", "one-any", ("b",))]
    assert [(each.id, each.kind) for each in stays] == [("mine", "component"), ("one-here", "component")]
    assert "by hand" in stays[0].reason
    assert "1: its label is zone=b, but zone=a is required" in str(stays[1])
    with pytest.raises(NotFound):
        foretell(Sight(world.observed(), stored), "x")


async def test_a_host_is_drained_under_load_and_taken_back(
    nats_server: str, lattice: str, connection: Connection, tmp_path: Path
) -> None:
    operator = Operator(connection, lattice)
    await operator.start()
    wasm = image(tmp_path, "echo", components.echo())
    at = ("--nats-url", nats_server, "--lattice", lattice)
    async with (
        scheduling_host(nats_server, lattice, tmp_path, "first") as first,
        scheduling_host(nats_server, lattice, tmp_path, "second") as second,
    ):
        await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=ANYWHERE))
        await eventually(lambda: sum(c.max_instances for h in (first, second) for c in h.state.components) == 20)
        async with steady_calls(operator, "app-echo") as outcomes:
            await eventually(lambda: len(outcomes) > 100)
            foretold = await trellis("drain", "first", "--dry-run", "-o", "json", *at, home=tmp_path)
            drained = await trellis("drain", "first", "-o", "json", *at, home=tmp_path)
            listed = await trellis("get", "hosts", *at, home=tmp_path)
            seen = len(outcomes)
            await eventually(lambda: len(outcomes) > seen + 50)
        assert first.state.components == []
        assert [each.max_instances for each in second.state.components] == [20]
        again = await trellis("uncordon", "first", *at, home=tmp_path)
        cordoned = await trellis("cordon", "second", *at, home=tmp_path)

        assert first.state.labels.keys() & {"trellis.dev/draining", "trellis.dev/cordoned"} == set()
        assert second.state.labels["trellis.dev/cordoned"] == "true"
    await operator.invoker.aclose()
    assert (foretold.status, drained.status, again.status, cordoned.status) == (0, 0, 0, 0), drained.err
    assert (
        foretold.json["moved"] == drained.json["moved"] == [{"kind": "component", "id": "app-echo", "to": ["second"]}]
    )
    assert drained.json["in_flight"] == 0
    assert "component app-echo → second" in drained.err
    assert "draining" in listed.out
    assert [each for each in outcomes if not isinstance(each, str)] == []


async def test_what_cannot_move_stays_and_says_why(
    nats_server: str, lattice: str, connection: Connection, tmp_path: Path
) -> None:
    wasm = image(tmp_path, "echo", components.echo())
    at = ("--nats-url", nats_server, "--lattice", lattice)
    home = {"zone": "home"}
    async with (
        scheduling_host(nats_server, lattice, tmp_path, "first", home, grace=1.0) as first,
        scheduling_host(nats_server, lattice, tmp_path, "second"),
    ):
        await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=AT_HOME))
        await eventually(lambda: len(first.state.components) == 1)
        drained = await trellis("drain", "first", "-o", "json", *at, home=tmp_path)
        unknown = await trellis("drain", "nobody", *at, home=tmp_path)

        assert [each.id for each in first.state.components] == ["app-echo"]
    assert drained.status == ExitCode.PARTIAL
    [stays] = drained.json["stays"]
    assert stays["id"] == "app-echo"
    assert "zone" in stays["reason"]
    assert unknown.status == ExitCode.NOT_FOUND
