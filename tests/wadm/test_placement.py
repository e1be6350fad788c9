"""Where work goes: evened out when hosts join, ties by load, work ahead, hosts of v1 beside ours, ports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.wadm.manifests import (
    application,
    component,
    group,
    http,
    link,
    manifest,
    policy,
    provider,
    spread,
    with_policies,
)
from tests.wadm.simulation import Reconciled, World, host
from trellis_wadm.planner import Desired, Host, RunningComponent, RunningProvider, StatusType, desired_of
from trellis_wadm.planner.commands import (
    PrepareComponent,
    PutLink,
    ScaleComponent,
    StartProvider,
    StopProvider,
)


def desired(*applications: dict[str, Any]) -> Desired:
    return desired_of([manifest(data) for data in applications])


def even(data: dict[str, Any], **more: str) -> dict[str, Any]:
    return with_policies(data, policy(rebalance="even", **more))


class TestRebalance:
    def test_never_is_the_default(self) -> None:
        app = desired(application("app", component("c", spread(9))))
        world = Reconciled.of(host("a"), host("b"))
        world.reconcile(app)
        world.hosts["c"] = host("c")

        world.reconcile(app)

        assert world.count("app-c") == {"a": 5, "b": 4}

    def test_a_host_that_joins_gets_its_share_and_starts_before_the_others_shrink(self) -> None:
        app = desired(even(application("app", component("c", spread(9)))))
        world = Reconciled.of(host("a"), host("b"))
        world.reconcile(app)
        world.hosts["c"] = host("c")

        first = world.make_pass(app)

        assert [(c.host, c.count) for c in first.changes if isinstance(c, ScaleComponent)] == [("c", 3)]
        world.reconcile(app)
        assert world.count("app-c") == {"a": 3, "b": 3, "c": 3}

    def test_as_many_hosts_at_a_time_as_the_policy_says(self) -> None:
        world = Reconciled.of(host("a"))
        world.reconcile(desired(application("app", component("c", spread(8)))))
        world.hosts |= {name: host(name) for name in "bcd"}
        app = desired(even(application("app", component("c", spread(8))), max_moves="2"))

        starts = []
        while (found := world.make_pass(app)).steps:
            starts.append([c.host for c in found.changes if isinstance(c, ScaleComponent) and c.host != "a"])

        assert [names for names in starts if names] == [["b", "c"], ["d"]]
        assert world.count("app-c") == {"a": 2, "b": 2, "c": 2, "d": 2}

    def test_the_fewest_instances_move(self) -> None:
        world = Reconciled.of(host("a"), host("b"), host("c"))
        for name, count in (("a", 4), ("b", 2)):
            running = RunningComponent("app-c", "file:///c.wasm", count)
            world.hosts[name] = replace(world.hosts[name], components={"app-c": running})

        world.reconcile(desired(even(application("app", component("c", spread(6))))))

        assert world.count("app-c") == {"a": 2, "b": 2, "c": 2}
        assert all(c.host != "b" or c.count == 2 for c in world.history if isinstance(c, ScaleComponent))

    def test_single_places_move_from_full_hosts_to_empty_ones_one_by_one(self) -> None:
        apps = desired(*[even(application(f"app{i}", component("c", spread(1)), provider("p"))) for i in range(3)])
        world = Reconciled.of(host("a"))
        world.reconcile(apps)
        world.hosts |= {name: host(name) for name in "bc"}

        world.reconcile(apps)

        assert sorted(h.workloads for h in world.hosts.values()) == [2, 2, 2]
        moved = [
            c for c in world.history if isinstance(c, StartProvider) or (isinstance(c, ScaleComponent) and c.count)
        ]
        assert len(moved) == 6 + 4

    def test_a_cordoned_host_keeps_what_it_has(self) -> None:
        app = desired(even(application("app", component("c", spread(6)))))
        world = Reconciled.of(host("a"), host("b"))
        world.reconcile(app)
        world.hosts["a"] = replace(world.hosts["a"], cordoned=True)
        world.hosts["c"] = host("c")

        world.reconcile(app)

        assert world.count("app-c") == {"a": 3, "b": 2, "c": 1}

    def test_a_host_that_cannot_start_it_takes_nothing_away_from_the_others(self) -> None:
        app = desired(even(application("app", component("c", spread(4)))))
        world = Reconciled.of(host("a"))
        world.reconcile(app)
        world.hosts["b"] = host("b")
        world.refuses.add(("b", "file:///c.wasm"))

        world.reconcile(app)

        assert world.count("app-c") == {"a": 4}
        assert world.look(app).applications["app"].type is StatusType.FAILED


class TestTies:
    def loaded(self, name: str, load: float = 0.0, memory: float = 0.0) -> Host:
        return replace(host(name), load=load, memory=memory)

    def test_of_hosts_with_as_many_workloads_the_idle_one_is_chosen(self) -> None:
        app = desired(application("app", component("c", spread(1))))

        world = World.of(self.loaded("a", 0.9), self.loaded("b", 0.2, 0.9), self.loaded("c", 0.2, 0.3))
        world.settle(app)

        assert world.count("app-c") == {"c": 1}

    def test_small_differences_do_not_count(self) -> None:
        app = desired(application("app", component("c", spread(1))))

        world = World.of(self.loaded("a", 0.02, 0.05), self.loaded("b", 0.01, 0.01))
        world.settle(app)

        assert world.count("app-c") == {"a": 1}

    def test_what_runs_stays_whatever_the_load(self) -> None:
        app = desired(application("app", component("c", spread(1)), provider("p")))
        world = World.of(self.loaded("a"), self.loaded("b", 0.5))
        world.settle(app)
        before = world.count("app-c") | world.count("app-p")

        world.hosts = {name: replace(h, load=1.0 - h.load) for name, h in world.hosts.items()}

        assert world.plan(app).changes == ()
        assert world.count("app-c") | world.count("app-p") == before


class TestPrepare:
    def test_the_hosts_that_would_be_next_prepare_what_they_may_have_to_run(self) -> None:
        app = desired(application("app", component("c", spread(1, group("east", zone="east")))))
        names = [f"h{i:02}" for i in range(12)]
        world = World.of(
            *[host(name, zone="east") for name in names], host("west"), host("v1", foreign=True, zone="east")
        )
        world.settle(app)

        prepared = sorted(h.id for h in world.hosts.values() if "file:///c.wasm" in h.prepared)

        assert prepared == names[1:9]
        assert world.plan(app).commands == ()

    def test_a_host_that_has_prepared_it_takes_over(self) -> None:
        app = desired(application("app", component("c", spread(1))))
        others = [desired(application(f"x{i}", component("c", spread(1), image="x"))) for i in range(2)]
        world = World.of(host("a"), host("b"), host("c"))
        both = Desired({name: a for wish in [app, *others] for name, a in wish.applications.items()})
        world.settle(both)
        world.hosts = {name: replace(h, prepared=frozenset()) for name, h in world.hosts.items()}
        world.hosts["c"] = replace(world.hosts["c"], prepared=frozenset({"file:///c.wasm"}))
        lost = next(iter(world.count("app-c")))
        world.hosts[lost] = replace(world.hosts[lost], live=False)

        world.settle(both)

        assert world.count("app-c") | {lost: 0} == {lost: 0, "c": 1}

    def test_it_is_not_prepared_on_more_and_more_hosts_as_loads_change(self) -> None:
        app = desired(application("app", component("c", spread(1))))
        world = World.of(*[host(f"h{i:02}") for i in range(20)])
        world.settle(app)

        for name in [h.id for h in world.hosts.values() if h.prepared]:
            extra = {f"x{i}": RunningProvider(f"x{i}", "x") for i in range(5)}
            world.hosts[name] = replace(world.hosts[name], providers=extra)

        assert world.plan(app).commands == ()

    def test_it_comes_last_and_says_nothing_about_the_application(self) -> None:
        app = desired(application("app", component("c", spread(1))))
        world = Reconciled.of(host("a"), host("b"))
        found = world.look(app)
        assert isinstance(found.commands[-1], PrepareComponent)
        assert found.changes == found.commands[:-1]
        world.make_pass(app)
        world.hosts["b"] = replace(world.hosts["b"], prepared=frozenset())
        for i in range(9):
            world.journal.sent(PrepareComponent("b", "file:///c.wasm"), "app", 200.0 + i)
            world.journal.failed(PrepareComponent("b", "file:///c.wasm"), "no room", 200.0 + i)

        found = world.look(app)

        assert found.commands == ()
        assert found.applications["app"].type is StatusType.DEPLOYED

    def test_hosts_that_wait_for_a_new_image_prepare_it(self) -> None:
        world = Reconciled.of(host("a"), host("b"), host("c"))
        world.reconcile(desired(application("app", component("c", spread(3)))))

        found = world.look(desired(application("app", component("c", spread(3), image="new.wasm"))))

        assert {c.host for c in found.commands if isinstance(c, PrepareComponent)} == {"a", "b", "c"}


class TestForeignHosts:
    APP = application(
        "app", component("c", spread(4), link("kv")), provider("kv", spread(2)), component("alone", spread(4))
    )

    def kinds(self, world: World, id: str) -> set[bool]:
        return {world.hosts[name].ours for name, count in world.count(id).items() if count}

    def test_what_is_linked_stays_on_one_kind_of_hosts_and_the_reason_is_given(self) -> None:
        world = World.of(host("a"), host("b"), host("x", foreign=True), host("y", foreign=True))

        world.settle(desired(self.APP))

        assert self.kinds(world, "app-c") == self.kinds(world, "app-kv") == {True}
        assert self.kinds(world, "app-alone") == {True, False}
        placement = next(p for p in world.plan(desired(self.APP)).placements if p.workload == "app-kv")
        verdicts = {verdict.host: verdict for verdict in placement.verdicts}
        assert verdicts["x"].code == "foreign"
        assert "it runs wasmCloud v1" in verdicts["x"].reason

    def test_it_stays_where_it_runs(self) -> None:
        world = World.of(host("x", foreign=True), host("y", foreign=True))
        world.settle(desired(self.APP))
        world.hosts |= {name: host(name) for name in "abc"}

        assert world.plan(desired(self.APP)).changes == ()

    def test_a_rule_that_only_one_kind_can_meet_decides(self) -> None:
        data = application(
            "app",
            component("c", spread(1, group("edge", edge="yes")), link("kv")),
            provider("kv"),
        )
        world = World.of(host("a"), host("x", foreign=True, edge="yes"))

        world.settle(desired(data))

        assert (world.count("app-c"), world.count("app-kv")) == ({"x": 1}, {"x": 1})

    def test_rules_that_no_kind_can_meet_are_reported(self) -> None:
        data = application(
            "app",
            component("c", spread(1, group("edge", edge="yes")), link("kv")),
            provider("kv", spread(1, group("core", core="yes"))),
        )
        world = World.of(host("a", core="yes"), host("x", foreign=True, edge="yes"))

        found = world.plan(desired(data))

        assert found.applications["app"].type is StatusType.FAILED
        assert "calls do not cross" in found.applications["app"].message


class TestPorts:
    """One provider of a host has a port."""

    def web(self, one: str, two: str, *more: dict[str, Any]) -> Desired:
        def served(name: str, zone: str) -> dict[str, Any]:
            where = spread(1, group("g", zone=zone))
            return application(name, component("c", spread(1)), provider("http", where, http("c", "0.0.0.0:8000")))

        return desired(served("one", one), served("two", two), *more)

    @pytest.mark.parametrize("swap", [True, False])
    def test_whoever_opens_a_port_starts_after_whoever_had_it(self, swap: bool) -> None:
        world = Reconciled.of(host("a", zone="east"), host("b", zone="west"), host("c", zone="north"))
        world.reconcile(self.web("east", "west"))

        after = self.web("west", "east" if swap else "north")
        while (found := world.look(after)).changes:
            for command in found.changes:
                if isinstance(command, StartProvider):
                    stops = {c.host for c in found.changes if isinstance(c, StopProvider)}
                    assert not world.hosts[command.host].providers or command.host in stops
            world.make_pass(after)

        assert world.count("one-http") == {"b": 1}
        assert world.count("two-http") == ({"a": 1} if swap else {"c": 1})

    def test_a_successor_waits_until_its_predecessor_runs_elsewhere_and_says_so(self) -> None:
        world = Reconciled.of(host("a", zone="east"), host("b", zone="west"), host("c", zone="north"))
        world.reconcile(self.web("east", "west"))

        first = world.make_pass(self.web("west", "north"))

        assert [(type(c), c.host) for c in first.changes if isinstance(c, StartProvider | StopProvider)] == [
            (StartProvider, "c")
        ]
        condition = next(c for c in first.applications["one"].conditions if c.reason == "port-taken")
        assert "two-http" in condition.message
        assert condition.host == "b"


def test_traits_about_one_link_are_put_together() -> None:
    app = desired(
        application("app", component("c", spread(1), link("kv"), link("kv", interfaces=["atomics"])), provider("kv"))
    )
    world = World.of(host("a"))

    world.settle(app)

    assert [stored.interfaces for stored in world.links] == [("store", "atomics")]


def test_two_applications_with_different_values_for_one_link_conflict_and_the_first_keeps_it() -> None:
    edge = application("edge", provider("http"), annotations={"experimental.wasmcloud.dev/shared": "true"})
    user = {"name": "http", "type": "capability", "properties": {"application": {"name": "edge", "component": "http"}}}
    back = {"name": "c", "type": "component", "properties": {"application": {"name": "base", "component": "c"}}}
    base = application("base", component("c", spread(1)), annotations={"experimental.wasmcloud.dev/shared": "true"})
    one = application("one", {**user, "traits": [http("c", "0.0.0.0:8001", "one")]}, back)
    two = application("two", {**user, "traits": [http("c", "0.0.0.0:8002", "two")]}, back)
    world = World.of(host("a"))
    world.settle(desired(edge, base, two))

    world.settle(desired(edge, base, one, two))

    statuses = world.plan(desired(edge, base, one, two)).applications
    assert statuses["two"].type is StatusType.DEPLOYED
    assert statuses["one"].type is StatusType.FAILED
    assert "with other interfaces or configs" in statuses["one"].message
    assert [stored.source_config for stored in world.links] == [("two-two",)]
    assert not [c for c in world.plan(desired(edge, base, one, two)).commands if isinstance(c, PutLink)]


def test_a_host_that_is_being_stopped_does_not_change_what_another_one_keeps() -> None:
    app = desired(application("app", component("c", spread(1))))
    world = Reconciled.of(host("a"), host("b"))
    for name in "ab":
        running = RunningComponent("app-c", "file:///c.wasm", 1)
        world.hosts[name] = replace(world.hosts[name], components={"app-c": running})
    stop = next(c for c in world.look(app).changes if isinstance(c, ScaleComponent) and not c.count)
    world.journal.sent(stop, "app", world.now)
    other = {"b": "a", "a": "b"}[stop.host]
    extra = {f"x{i}": RunningProvider(f"x{i}", "x") for i in range(5)}
    world.hosts[other] = replace(world.hosts[other], providers=extra)

    found = world.look(app)

    assert not [c for c in found.changes if isinstance(c, ScaleComponent) and not c.count]
