"""A host that is asked to stop gives its work away first, if there is anybody to give it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fixtures import components
from tests.host.support import PATIENCE, Operator, eventually, host_key, image, running_host, soon
from tests.host.test_changing import TEXT, steady_calls
from trellis_host.host import Host
from trellis_host.leaving import managed, somebody_takes
from trellis_host.runtime.launch import MANAGED_BY
from trellis_host.state import ComponentSpec, HostState, ProviderSpec
from trellis_lattice.bus.connection import Connection
from trellis_lattice.bus.membership import Beat
from trellis_lattice.control import host as hosts
from trellis_lattice.errors import Unavailable
from trellis_wadm.api.client import WadmClient
from trellis_wadm.reconciler import ReconcilerService

MANIFEST = """
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {{name: app, annotations: {{version: v0.0.1}}}}
spec:
  components:
    - name: echo
      type: component
      properties: {{image: "{image}"}}
      traits:
        - type: spreadscaler
          properties: {{instances: 20{spread}}}
"""
BESIDE = """
    - name: beside
      type: component
      properties: {{image: "{image}"}}
      traits:
        - type: spreadscaler
          properties: {{instances: 1}}
"""
ANYWHERE = ""
AT_HOME = ", spread: [{name: home, requirements: {zone: home}}]"


def test_who_may_leave_at_once() -> None:
    state = HostState("N", {})
    for number, mine in enumerate(({}, {MANAGED_BY: "wadm"})):
        spec = ComponentSpec(f"c{number}", "i", 1, mine)
        state.scale(spec)
        state.component_ready(spec)
        provider = ProviderSpec(f"p{number}", "i", mine)
        state.start_provider(provider)
        state.provider_ready(provider)

    assert managed(state) == ["c1", "p1"]
    assert not somebody_takes([Beat("N", 1, 1), Beat("D", 1, 1, draining=True), Beat("L", 1, 1, leaving=True)], "N")
    assert somebody_takes([Beat("N", 1, 1), Beat("O", 1, 1)], "N")


@asynccontextmanager
async def scheduling_host(
    url: str, lattice: str, folder: Path, name: str, labels: dict[str, str] | None = None, grace: float = 15.0
) -> AsyncIterator[Host]:
    """A host that may lead the reconciliation, as `trellis host run` makes them."""
    service = ReconcilerService(lattice, host_key(lattice, name).id, boot=1)
    async with running_host(
        url, lattice, folder, name=name, services=[service], labels=labels, stop_grace=grace
    ) as host:
        yield host


async def deploy(connection: Connection, lattice: str, manifest: str) -> None:
    client = WadmClient(connection, lattice)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await client.put(manifest, deadline=soon())
                break
            except Unavailable:  # the scheduler begins after the host is announced
                await asyncio.sleep(0.01)
    await client.deploy("app", deadline=soon())


async def test_the_leader_gives_its_work_away_under_load_and_loses_nothing(
    nats_server: str, lattice: str, operator: Operator, connection: Connection, tmp_path: Path
) -> None:
    wasm = image(tmp_path, "echo", components.echo())
    async with scheduling_host(nats_server, lattice, tmp_path, "first") as first:
        await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=ANYWHERE))
        await eventually(lambda: len(first.state.components) == 1)
        async with (
            scheduling_host(nats_server, lattice, tmp_path, "second") as second,
            steady_calls(operator, "app-echo") as outcomes,
        ):
            await eventually(lambda: len(outcomes) > 100)
            life = [task for task in asyncio.all_tasks() if task.get_name() == "host first"]
            first.request_stop()
            assert first.inventory().draining
            await asyncio.wait(life)
            seen = len(outcomes)
            await eventually(lambda: len(outcomes) > seen + 50)

            assert [each.id for each in second.state.components] == ["app-echo"]
    assert [each for each in outcomes if not isinstance(each, str)] == []


async def test_what_no_other_host_may_run_keeps_no_host_from_leaving(
    nats_server: str, lattice: str, operator: Operator, connection: Connection, tmp_path: Path
) -> None:
    """The grace is longer than the patience of this test."""
    wasm = image(tmp_path, "echo", components.echo())
    home = {"zone": "home"}
    async with scheduling_host(nats_server, lattice, tmp_path, "other") as other:
        async with scheduling_host(nats_server, lattice, tmp_path, "first", home, grace=600.0) as first:
            await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=AT_HOME))
            await eventually(lambda: len(first.state.components) == 1)
            first.request_stop()
            await operator.heard("host_stopped", labels=first.state.labels)
        assert other.state.components == []


async def test_a_host_that_leads_tells_itself_what_stays_and_moves_the_rest(
    nats_server: str, lattice: str, operator: Operator, connection: Connection, tmp_path: Path
) -> None:
    wasm = image(tmp_path, "echo", components.echo())
    async with scheduling_host(nats_server, lattice, tmp_path, "first", {"zone": "home"}, grace=600.0) as first:
        await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=AT_HOME) + BESIDE.format(image=wasm))
        await eventually(lambda: len(first.state.components) == 2)
        async with scheduling_host(nats_server, lattice, tmp_path, "second") as second:
            first.request_stop()
            await operator.heard("host_stopped", labels=first.state.labels)
            assert [each.id for each in second.state.components] == ["app-beside"]


async def test_without_a_word_of_the_scheduler_a_host_waits_until_its_time_is_over(
    nats_server: str, lattice: str, operator: Operator, connection: Connection, tmp_path: Path
) -> None:
    """Nobody leads here: another host might take it, if there were somebody to decide so."""
    wasm = image(tmp_path, "echo", components.echo())
    async with (
        running_host(nats_server, lattice, tmp_path, name="first", stop_grace=1.0) as first,
        running_host(nats_server, lattice, tmp_path, name="second"),
    ):
        await operator.start_component(first, "c", wasm, annotations={MANAGED_BY: "wadm"})
        first.request_stop()
        await eventually(lambda: first.inventory().draining)
        answers = [await operator.call("c", "test:echo/echo@0.1.0", "text", TEXT, str(n)) for n in range(20)]
        await operator.heard("host_stopped")
        assert answers == [str(n) for n in range(20)]


async def test_hosts_that_all_leave_wait_for_nobody(
    nats_server: str, lattice: str, operator: Operator, connection: Connection, tmp_path: Path
) -> None:
    """Their grace is longer than the patience of this test."""
    wasm = image(tmp_path, "echo", components.echo())
    async with (
        scheduling_host(nats_server, lattice, tmp_path, "first", grace=600.0) as first,
        scheduling_host(nats_server, lattice, tmp_path, "second", grace=600.0) as second,
    ):
        await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=ANYWHERE))
        await eventually(lambda: len(first.state.components) + len(second.state.components) > 0)
        first.request_stop()
        second.request_stop()


async def test_a_stop_over_the_lattice_is_a_drain_within_the_time_it_gives(
    nats_server: str, lattice: str, operator: Operator, connection: Connection, tmp_path: Path
) -> None:
    wasm = image(tmp_path, "echo", components.echo())
    async with scheduling_host(nats_server, lattice, tmp_path, "first") as first:
        await deploy(connection, lattice, MANIFEST.format(image=wasm, spread=ANYWHERE))
        await eventually(lambda: len(first.state.components) == 1)
        async with scheduling_host(nats_server, lattice, tmp_path, "second") as second:
            request = hosts.StopHost(host_id=first.state.host_id, timeout=10_000)
            answer = await operator.ask(hosts.STOP, request, first.state.host_id)
            await operator.heard("host_stopped")

            assert answer.message == "successfully handled stop host"
            assert [each.id for each in second.state.components] == ["app-echo"]
