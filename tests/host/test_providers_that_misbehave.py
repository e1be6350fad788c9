"""Providers that hang, fail or cancel themselves at any step of their life: the host goes on, and says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.host.support import Operator, eventually, running_host
from trellis_host.runtime import background, providers, workloads
from trellis_lattice.control import CtlResponse, host, provider
from trellis_lattice.wit.types import FuncType, Primitive
from trellis_provider_sdk import Health, Provider, ProviderContext, ProviderLink, provides, u64

WAIT = FuncType((("ms", Primitive.U64),), Primitive.U64)


@provides("test:waiter/provider@0.1.0")
class Good(Provider):
    """Notes its links."""

    def __init__(self) -> None:
        self.links: list[ProviderLink] = []
        self.stops = 0

    async def wait(self, ms: u64) -> u64:
        return ms

    async def link_put(self, link: ProviderLink) -> None:
        self.links = [each for each in self.links if each.key != link.key] + [link]

    async def link_delete(self, link: ProviderLink) -> None:
        self.links.remove(link)

    async def stop(self) -> None:
        self.stops += 1


class HangsAtStart(Good):
    begun: asyncio.Event

    async def start(self, ctx: ProviderContext) -> None:
        self.begun.set()
        await asyncio.Event().wait()


class HangsForGood(Good):
    """Also ignores that it is cancelled, until the test lets it go."""

    released: asyncio.Event

    async def stop(self) -> None:
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue


class HangsAtLinks(Good):
    async def link_put(self, link: ProviderLink) -> None:
        if link.target == "stuck":
            await asyncio.Event().wait()
        await super().link_put(link)


class CannotBeMade(Good):
    def __init__(self) -> None:
        raise RuntimeError("no such luck")


class CancelsItself(Good):
    async def start(self, ctx: ProviderContext) -> None:
        raise asyncio.CancelledError


class FailsAtStart(Good):
    async def start(self, ctx: ProviderContext) -> None:
        raise LookupError("not today")


class SaysNothing(Good):
    async def health(self) -> Health:
        return None  # type: ignore[return-value]


class HangsAtHealth(Good):
    async def health(self) -> Health:
        await asyncio.Event().wait()
        raise AssertionError


KINDS: dict[str, type[Provider]] = {
    kind.__name__: kind
    for kind in (
        Good,
        HangsAtStart,
        HangsForGood,
        HangsAtLinks,
        CannotBeMade,
        CancelsItself,
        FailsAtStart,
        SaysNothing,
        HangsAtHealth,
    )
}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds of a host, small."""
    monkeypatch.setattr(providers, "START_TIMEOUT", 0.2)
    monkeypatch.setattr(providers, "STEP_TIMEOUT", 0.2)
    monkeypatch.setattr(providers, "HEALTH_TIMEOUT", 0.2)
    monkeypatch.setattr(workloads, "REFUSED_AGAIN", 0.1)
    monkeypatch.setattr(workloads, "DRAIN_GRACE", 0.2)
    monkeypatch.setattr(background, "_LINGER", 0.1)
    HangsAtStart.begun = asyncio.Event()
    HangsForGood.released = asyncio.Event()


def find(reference: str) -> type[Provider]:
    if reference == "Broken":
        raise ImportError("a syntax error, say")
    return KINDS[reference]


async def _stop(operator: Operator, host_id: str, id: str) -> CtlResponse[None]:
    request = provider.StopProvider(provider_id=id, host_id=host_id)
    answer: CtlResponse[None] = await operator.ask(provider.STOP, request, host_id)
    return answer


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("HangsAtStart", "did not end within"),
        ("CannotBeMade", "no such luck"),
        ("CancelsItself", "was cancelled"),
        ("FailsAtStart", "LookupError"),
        ("Broken", "a syntax error, say"),
    ],
)
async def test_one_that_cannot_start_is_reported_and_leaves_nothing(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, kind: str, says: str
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        me = one.state.host_id
        start = provider.StartProvider(provider_id="it", provider_ref=kind)
        assert (await operator.ask(provider.START, start, me)).success
        failed = await operator.heard("provider_start_failed", provider_id="it")
        inventory = (await operator.ask(host.GET, to=me)).unwrap()
        await operator.start_provider(one, "it", "Good")  # the id is free again

        assert await operator.call("it", "test:waiter/provider@0.1.0", "wait", WAIT, 3) == 3
    assert says in failed.data["error"]
    assert inventory.providers == ()


async def test_stopping_one_that_hangs_in_its_start_ends_it(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "START_TIMEOUT", 3600.0)
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        me = one.state.host_id
        start = provider.StartProvider(provider_id="it", provider_ref="HangsAtStart")
        await operator.ask(provider.START, start, me)
        await HangsAtStart.begun.wait()
        await operator.start_provider(one, "other", "Good")

        assert (await _stop(operator, me, "other")).message == "successfully stopped provider"
        assert (await _stop(operator, me, "it")).message == "successfully stopped provider"
        await operator.heard("provider_start_failed", provider_id="it")
        await operator.heard("provider_stopped", provider_id="it")
        assert (await _stop(operator, me, "it")).message == "provider with that ID is not running"


async def test_a_host_stops_while_a_provider_hangs_in_its_start(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "START_TIMEOUT", 3600.0)
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        start = provider.StartProvider(provider_id="it", provider_ref="HangsAtStart")
        await operator.ask(provider.START, start, one.state.host_id)
        await HangsAtStart.begun.wait()

    await operator.heard("provider_start_failed", provider_id="it")
    await operator.heard("host_stopped")


async def test_one_that_hangs_in_its_stop_is_left_behind(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        await operator.start_provider(one, "it", "HangsForGood")
        assert (await _stop(operator, one.state.host_id, "it")).success
        await operator.heard("provider_stopped", provider_id="it")
        await operator.start_provider(one, "it", "HangsForGood")
    await operator.heard("host_stopped")
    HangsForGood.released.set()
    await eventually(lambda: all("stop of provider" not in each.get_name() for each in asyncio.all_tasks()))

    assert any("stop of provider it" in record.getMessage() for record in caplog.records)


async def test_a_link_that_hangs_harms_no_other(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        await operator.put_link("it", "stuck", "test:a", "b")
        await operator.start_provider(one, "it", "HangsAtLinks")
        [running] = one.workloads.providers
        await operator.put_link("it", "fine", "test:c", "d")

        await eventually(lambda: [each.target for each in running.runner.links] == ["fine"])
        assert "did not end within" in next(iter(running.refused_links.values()))
        assert (await _stop(operator, one.state.host_id, "it")).success


async def test_a_storm_of_links_ends_as_the_last_one_says(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        await operator.start_provider(one, "it", "Good")
        [running] = one.workloads.providers
        for number in range(50):
            await operator.put_config(f"cfg-{number}", number=str(number))
            await operator.put_link("it", "there", "test:a", "b", source_config=(f"cfg-{number}",))
        assert isinstance(running.runner.provider, Good)
        good = running.runner.provider

        await eventually(lambda: [each.source_config for each in good.links] == [{"number": "49"}])
        await operator.put_config("cfg-49", number="fifty")
        await eventually(lambda: [each.source_config for each in good.links] == [{"number": "fifty"}])


async def test_a_link_put_while_its_provider_starts_is_not_missed(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "START_TIMEOUT", 20.0)
    monkeypatch.setattr(providers, "STEP_TIMEOUT", 20.0)
    entered, opened = asyncio.Event(), asyncio.Event()

    class SlowLinks(Good):
        async def link_put(self, link: ProviderLink) -> None:
            entered.set()
            await opened.wait()
            await super().link_put(link)

    async with running_host(nats_server, lattice, tmp_path, find_provider=lambda reference: SlowLinks) as one:
        await operator.put_link("it", "first", "test:a", "b")
        start = provider.StartProvider(provider_id="it", provider_ref="x")
        await operator.ask(provider.START, start, one.state.host_id)
        await entered.wait()
        await operator.put_link("it", "second", "test:c", "d")
        await eventually(lambda: len(one.shared.links_at("it")) == 2)
        opened.set()
        await operator.heard("provider_started", provider_id="it")
        [running] = one.workloads.providers

        await eventually(lambda: {each.target for each in running.runner.links} == {"first", "second"})


@pytest.mark.parametrize("kind", ["SaysNothing", "HangsAtHealth"])
async def test_one_that_cannot_say_how_it_is_is_unhealthy(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, kind: str
) -> None:
    async with running_host(nats_server, lattice, tmp_path, find_provider=find) as one:
        await operator.start_provider(one, "it", kind)
        [running] = one.workloads.providers

        assert not (await running.health()).healthy
