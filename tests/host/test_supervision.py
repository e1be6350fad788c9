"""A provider that has failed is started again by its host, with pauses, and everyone can see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.host.support import Operator, eventually, running_host
from trellis_host.runtime import health
from trellis_host.runtime.health import Watched
from trellis_host.state import ProviderSpec
from trellis_lattice.control import host as hosts
from trellis_lattice.control import provider
from trellis_lattice.errors import Unavailable
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Health, Provider, ProviderContext, provides, u64

WAIT = FuncType((("ms", Primitive.U64),), Primitive.U64)


def test_one_bad_answer_is_no_failure_and_pauses_grow() -> None:
    watched = Watched(ProviderSpec("p", "i"), 0.0)
    bad = Health(False, "no database")

    assert [watched.answered(bad, 10.0, runs=True) for _ in range(health.TOLERATED)] == [False, False, True]
    assert "no database" in watched.problem
    dues = []
    for _ in range(10):
        watched.started_again(Unavailable("no"), 100.0)
        dues.append(watched.due - 100.0)
        assert watched.answered(bad, 100.0, runs=False)
    assert dues == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert (watched.restarts, watched.problem) == (10, "It does not run: no")
    assert not watched.answered(Health(True), 100.0, runs=True)
    assert (watched.restarts, watched.in_vain, watched.problem) == (10, 0, "")


class Frail:
    """What all lives of a frail provider share."""

    lives = 0
    broken = False
    starts = True


def frail_provider(frail: Frail) -> type[Provider]:
    @provides("test:waiter/provider@0.1.0")
    class Provided(Provider):
        async def start(self, ctx: ProviderContext) -> None:
            if not frail.starts:
                raise Unavailable("The database does not answer.")
            frail.lives += 1
            frail.broken = False

        async def health(self) -> Health:
            return Health(not frail.broken, "the pool is exhausted")

        async def wait(self, ms: u64) -> u64:
            return ms

    return Provided


async def test_a_failed_provider_lives_again(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST", "INTERVAL", "AGAIN", "TICK", "LONGEST_PAUSE"):
        monkeypatch.setattr(health, name, 0.02)
    frail = Frail()
    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda _: frail_provider(frail)) as one:
        await operator.start_provider(one, "frail", "frail", annotations={"k": "v"})
        frail.starts, frail.broken = False, True
        await operator.heard("health_check_failed", provider_id="frail")
        await eventually(lambda: "does not answer" in (one.inventory().providers[0].problem or ""))
        frail.starts = True
        again = await operator.heard("provider_started", provider_id="frail")
        await operator.heard("health_check_passed", provider_id="frail")
        await eventually(lambda: one.inventory().providers[0].problem is None)
        told = (await operator.ask(hosts.GET, to=one.state.host_id)).unwrap().providers[0]

        assert again.data["annotations"] == {"k": "v"}
        assert told.restarts >= 2
        assert frail.lives == 2
        assert await operator.call("frail", "test:waiter/provider@0.1.0", "wait", WAIT, 7) == 7
        request = provider.StopProvider(provider_id="frail", host_id=one.state.host_id)
        assert (await operator.ask(provider.STOP, request, one.state.host_id)).success
        assert one.inventory().providers == ()
    assert frail.lives == 2
