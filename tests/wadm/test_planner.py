"""What the planner decides, by example."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.wadm.manifests import application, component, group, http, link, manifest, provider, spread
from tests.wadm.simulation import World, host
from trellis_lattice.links import Link
from trellis_wadm import backoff, naming
from trellis_wadm.planner import Desired, RunningComponent, RunningProvider, StatusType, desired_of, plan
from trellis_wadm.planner.commands import (
    DeleteConfig,
    DeleteLink,
    PutConfig,
    PutLink,
    ScaleComponent,
    StartProvider,
    StopProvider,
)


def desired(*applications: dict) -> Desired:
    return desired_of([manifest(data) for data in applications])


KV = application(
    "counter",
    component("counter", spread(4), link("kv", to={"bucket": {"bucket": "counts"}})),
    provider("kv"),
    provider("http", http("counter", "127.0.0.1:8000")),
)


def test_a_fresh_application_is_configured_linked_and_started_in_that_order() -> None:
    world = World.of(host("a"))

    found = world.plan(desired(KV))

    kinds = [type(command) for command in found.commands]
    assert kinds == [PutConfig, PutConfig, PutLink, PutLink, ScaleComponent, StartProvider, StartProvider]
    scale = next(command for command in found.commands if isinstance(command, ScaleComponent))
    assert (scale.id, scale.count, scale.image, scale.host) == ("counter-counter", 4, "file:///c.wasm", "a")
    assert scale.annotations[naming.MANAGED_BY_ANNOTATION] == "wadm"
    assert scale.annotations[naming.APP_ANNOTATION] == "counter"
    assert scale.annotations[naming.SPREAD_ANNOTATION] == "default"
    assert found.applications["counter"].type is StatusType.RECONCILING

    world.apply_all(found.commands)
    assert world.plan(desired(KV)).commands == ()
    assert world.plan(desired(KV)).applications["counter"].type is StatusType.DEPLOYED


def test_a_lattice_without_hosts_is_waited_for() -> None:
    status = World().plan(desired(application("app", component("c", spread(1))))).applications["app"]

    assert status.type is StatusType.WAITING
    assert "no hosts" in status.message


def test_undeploying_removes_everything_that_was_brought() -> None:
    world = World.of(host("a"))
    world.settle(desired(KV))

    found = world.plan(Desired())

    assert {type(command) for command in found.commands} == {ScaleComponent, StopProvider, DeleteLink, DeleteConfig}
    assert isinstance(found.commands[-1], DeleteConfig)
    world.settle(Desired())
    assert (world.links, world.configs, world.count("counter-counter")) == ([], {}, {})
    assert world.plan(Desired()).owned.configs == frozenset()


def test_what_others_brought_stays() -> None:
    world = World.of(host("a"))
    foreign = Link(
        source_id="x", target="y", wit_namespace="wasi", wit_package="http", interfaces=("incoming-handler",)
    )
    world.links.append(foreign)
    world.configs["theirs"] = {"a": "b"}
    world.hosts["a"] = replace(world.hosts["a"], components={"hand": RunningComponent("hand", "x.wasm", 3)})

    world.settle(desired(KV))
    world.settle(Desired())

    assert world.links == [foreign]
    assert world.configs == {"theirs": {"a": "b"}}
    assert world.count("hand") == {"a": 3}


def test_one_application_goes_and_the_other_keeps_what_it_shares() -> None:
    shared = application(
        "edge",
        provider("http", image="ghcr.io/http:1"),
        annotations={"experimental.wasmcloud.dev/shared": "true"},
    )
    user = {"name": "http", "type": "capability", "properties": {"application": {"name": "edge", "component": "http"}}}
    one = application("one", {**user, "traits": [http("c", "0.0.0.0:8001", "one")]}, component("c", spread(1)))
    two = application("two", {**user, "traits": [http("c", "0.0.0.0:8002", "two")]}, component("c", spread(1)))
    world = World.of(host("a"))
    world.settle(desired(shared, one, two))
    assert {stored.source_id for stored in world.links} == {"edge-http"}

    world.settle(desired(shared, two))

    assert world.count("edge-http") == {"a": 1}
    assert world.count("two-c") == {"a": 1}
    assert world.count("one-c") == {}
    assert [stored.target for stored in world.links] == ["two-c"]
    assert set(world.configs) == {"two-two"}


def test_instances_are_spread_evenly_and_stay_where_they_run() -> None:
    app = application("app", component("c", spread(6)))
    world = World.of(host("a"), host("b"))
    world.settle(desired(app))
    assert world.count("app-c") == {"a": 3, "b": 3}

    world.hosts["c"] = host("c")
    assert world.plan(desired(app)).changes == ()

    world.hosts["a"] = replace(world.hosts["a"], live=False)
    world.settle(desired(app))
    assert {name: n for name, n in world.count("app-c").items() if name != "a"} == {"b": 3, "c": 3}


def test_single_instances_of_many_applications_do_not_pile_up_on_one_host() -> None:
    apps = [application(f"app{i}", component("c", spread(1))) for i in range(6)]
    world = World.of(host("a"), host("b"), host("c"))

    world.settle(desired(*apps))

    assert sorted(len(h.components) for h in world.hosts.values()) == [2, 2, 2]


def test_weights_split_over_labelled_hosts() -> None:
    trait = spread(5, group("east", 40, zone="east"), group("west", 40, zone="west"), group("other", 20, zone="other"))
    world = World.of(host("a", zone="east"), host("b", zone="west"), host("c", zone="other"))

    world.settle(desired(application("app", component("c", trait), provider("p", trait))))

    assert world.count("app-c") == {"a": 2, "b": 2, "c": 1}
    assert world.count("app-p") == {"a": 1, "b": 1, "c": 1}


def test_spreads_that_overlap_share_a_host_and_never_flap() -> None:
    trait = spread(4, group("all"), group("east", zone="east"))
    app = desired(application("app", component("c", trait)))
    world = World.of(host("a", zone="east"))

    world.settle(app)

    assert world.count("app-c") == {"a": 4}
    assert world.hosts["a"].components["app-c"].annotations[naming.SPREAD_ANNOTATION] == "all=2,east=2"
    assert world.plan(app).applications["app"].type is StatusType.DEPLOYED


def test_reasons_name_every_rejected_host() -> None:
    app = application("app", component("c", spread(1, group("east", zone="east"))))
    world = World.of(host("a", zone="west"), host("b"), host("c", zone="east", cordoned=True))

    found = world.plan(desired(app))

    verdicts = {verdict.host: verdict for verdict in found.placements[0].verdicts}
    assert {name: verdict.code for name, verdict in verdicts.items()} == {"a": "label", "b": "label", "c": "cordoned"}
    assert "zone=west" in verdicts["a"].reason
    status = found.applications["app"]
    assert status.type is StatusType.FAILED
    assert "Could not satisfy spread east for file:///c.wasm, 0/1 eligible hosts found." in status.message
    assert {condition.host for condition in status.conditions} == {None, "a", "b", "c"}


def test_a_provider_that_finds_too_few_hosts_runs_where_it_can() -> None:
    app = desired(application("app", provider("p", spread(3))))
    world = World.of(host("a"), host("b"))

    world.settle(app)

    assert world.count("app-p") == {"a": 1, "b": 1}
    status = world.plan(app).applications["app"]
    assert status.type is StatusType.FAILED
    assert "2/3 eligible hosts" in status.message


def test_daemons_run_on_every_fitting_host_also_on_late_ones() -> None:
    trait = spread(2, group("east", zone="east"), daemon=True)
    app = desired(application("app", component("c", trait), provider("p", trait)))
    world = World.of(host("a", zone="east"), host("b", zone="west"))
    world.settle(app)
    assert (world.count("app-c"), world.count("app-p")) == ({"a": 2}, {"a": 1})

    world.hosts["c"] = host("c", zone="east")
    world.settle(app)

    assert (world.count("app-c"), world.count("app-p")) == ({"a": 2, "c": 2}, {"a": 1, "c": 1})


def test_daemons_stay_on_a_cordoned_host_leave_a_draining_one_and_start_on_neither() -> None:
    trait = spread(2, daemon=True)
    app = desired(application("app", component("c", trait), provider("p", trait)))
    world = World.of(host("a"), host("b"), host("c"))
    world.settle(app)

    world.hosts["a"] = replace(world.hosts["a"], cordoned=True)
    world.hosts["b"] = replace(world.hosts["b"], draining=True)
    world.hosts["d"], world.hosts["e"] = host("d", cordoned=True), host("e", draining=True)
    world.settle(app)

    assert (world.count("app-c"), world.count("app-p")) == ({"a": 2, "c": 2}, {"a": 1, "c": 1})
    assert world.plan(app).applications["app"].type is StatusType.DEPLOYED


def test_a_component_on_a_host_that_does_not_fit_goes_whoever_started_it() -> None:
    app = desired(application("app", component("c", spread(1, group("east", zone="east")))))
    world = World.of(host("a", zone="east"), host("b"))
    world.hosts["b"] = replace(world.hosts["b"], components={"app-c": RunningComponent("app-c", "file:///c.wasm", 9)})

    world.settle(app)

    assert world.count("app-c") == {"a": 1}


def test_moving_starts_before_it_stops() -> None:
    app = desired(application("app", component("c", spread(2)), provider("p")))
    world = World.of(host("a"))
    world.settle(app)
    world.hosts["a"] = replace(world.hosts["a"], draining=True)
    assert world.plan(app).commands == ()

    world.hosts["b"] = host("b")
    first = world.plan(app)
    assert {command.host for command in first.commands} == {"b"}
    assert "moving" in {condition.reason for condition in first.applications["app"].conditions}
    world.apply_all(first.commands)
    second = world.plan(app)

    assert {(type(command), command.host) for command in second.commands} == {
        (ScaleComponent, "a"),
        (StopProvider, "a"),
    }
    world.settle(app)
    assert (world.count("app-c"), world.count("app-p")) == ({"b": 2}, {"b": 1})


def test_a_cordoned_host_keeps_what_it_runs_and_gets_no_more() -> None:
    world = World.of(host("a"), host("b"))
    world.settle(desired(application("app", component("c", spread(2)))))
    world.hosts["a"] = replace(world.hosts["a"], cordoned=True)

    world.settle(desired(application("app", component("c", spread(5)))))

    assert world.count("app-c") == {"a": 1, "b": 4}


def test_a_missing_config_holds_its_users_back_and_says_so() -> None:
    app = desired(application("app", component("c", spread(1), config=[{"name": "theirs"}])))
    world = World.of(host("a"))

    found = world.plan(app)

    assert found.commands == ()
    assert found.applications["app"].type is StatusType.FAILED
    assert "Specified configuration theirs does not exist" in found.applications["app"].message
    world.configs["theirs"] = {}
    world.settle(app)
    assert world.count("app-c") == {"a": 1}


def test_a_changed_config_is_written_and_nothing_restarts() -> None:
    def app(value: str) -> Desired:
        entry = {"name": "settings", "properties": {"level": value}}
        return desired(application("app", component("c", spread(1), config=[entry]), provider("p", config=[entry])))

    world = World.of(host("a"))
    world.settle(app("1"))

    assert world.plan(app("2")).commands == (PutConfig("app-settings", {"level": "2"}),)


def test_a_link_to_another_target_replaces_the_old_one() -> None:
    def app(target: str) -> Desired:
        return desired(application("app", component("c", spread(1), link(target)), provider("kv"), provider("redis")))

    world = World.of(host("a"))
    world.settle(app("kv"))

    found = world.plan(app("redis"))

    assert [type(command) for command in found.commands] == [DeleteLink, PutLink]
    world.settle(app("redis"))
    assert [stored.target for stored in world.links] == ["app-redis"]


def test_a_foreign_link_in_the_way_is_left_and_named() -> None:
    app = desired(application("app", component("c", spread(1), link("kv")), provider("kv")))
    world = World.of(host("a"))
    world.links.append(
        Link(source_id="app-c", target="other", wit_namespace="wasi", wit_package="keyvalue", interfaces=("store",))
    )

    world.settle(app)

    status = world.plan(app).applications["app"]
    assert status.type is StatusType.FAILED
    assert "linked to other already" in status.message
    assert [stored.target for stored in world.links] == ["other"]


def test_a_successor_on_the_same_port_starts_after_the_old_one_ended() -> None:
    world = World.of(host("a"))
    world.settle(desired(application("app", component("c", spread(1)), provider("http", http("c", "0.0.0.0:8000")))))

    found = world.plan(
        desired(application("app", component("c", spread(1)), provider("web", http("c", "0.0.0.0:8000"))))
    )

    kinds = [type(command) for command in found.commands]
    assert kinds.index(StopProvider) < kinds.index(StartProvider)
    assert kinds.index(DeleteLink) < kinds.index(PutLink)


def test_two_applications_on_one_address_conflict_and_the_first_keeps_it() -> None:
    def app(name: str, address: str = "0.0.0.0:8000", **requirements: str) -> dict:
        trait = spread(1, group("g", **requirements))
        return application(name, component("c", spread(1)), provider("http", trait, http("c", address)))

    world = World.of(host("a"))
    world.settle(desired(app("second")))
    both = desired(app("first"), app("second"))

    world.settle(both)

    statuses = world.plan(both).applications
    assert statuses["second"].type is StatusType.DEPLOYED
    assert statuses["first"].type is StatusType.FAILED
    assert "Two listeners on one address" in statuses["first"].message
    assert "application 'second'" in statuses["first"].message
    other_port = desired(app("first", "0.0.0.0:8001"), app("second"))
    world.settle(other_port)
    assert world.plan(other_port).applications["first"].type is StatusType.DEPLOYED
    apart = desired(app("first", zone="east"), app("second", zone="west"))
    assert "Two listeners" not in World().plan(apart).applications["first"].message


def test_two_applications_with_one_id_conflict() -> None:
    apps = desired(
        application("one", provider("http", id="http_server")),
        application("two", provider("http", id="http_server", image="other:1")),
    )
    world = World.of(host("a"))

    world.settle(apps)

    assert world.hosts["a"].providers["http_server"].image == "ghcr.io/p:1"
    assert world.plan(apps).applications["two"].type is StatusType.FAILED


def test_providers_are_not_linked_to_providers() -> None:
    app = desired(application("app", provider("one", link("two")), provider("two")))

    status = World.of(host("a")).plan(app).applications["app"]

    assert "A provider cannot be linked to a provider" in status.message


def test_a_provider_started_by_hand_is_taken_as_it_is() -> None:
    app = desired(application("app", provider("p", id="kv")))
    world = World.of(host("a"), host("b"))
    world.hosts["b"] = replace(world.hosts["b"], providers={"kv": RunningProvider("kv", "ghcr.io/p:0")})

    assert world.plan(app).commands == ()


class TestBackoff:
    POLICY = backoff.Policy(first=1.0, cap=4.0, limit=3, pending=10.0)

    def scale(self) -> tuple[World, Desired, ScaleComponent]:
        world, app = World.of(host("a")), desired(application("app", component("c", spread(1))))
        command = world.plan(app).commands[0]
        assert isinstance(command, ScaleComponent)
        return world, app, command

    def test_a_command_that_was_sent_is_not_sent_again_while_it_is_in_progress(self) -> None:
        world, app, command = self.scale()
        attempt = backoff.sent(None, command, 100.0, self.POLICY)
        observed = replace(world.observed(), attempts={"component/a/app-c/file:///c.wasm": attempt})

        found = plan(app, observed, 105.0, self.POLICY)

        assert found.commands == ()
        assert found.wake_at == 110.0
        condition = found.applications["app"].conditions[0]
        assert (condition.reason, condition.host, condition.since) == ("in-progress", "a", 100.0)
        assert found.applications["app"].type is StatusType.RECONCILING
        assert plan(app, observed, 110.5, self.POLICY).commands == ()
        assert plan(app, observed, 111.0, self.POLICY).commands == (command,)

    def test_failures_wait_longer_each_time_and_end(self) -> None:
        world, app, command = self.scale()
        attempt = backoff.failed(backoff.sent(None, command, 100.0, self.POLICY), "no such file", 100.0)
        waits = []
        now = 100.0
        for _ in range(self.POLICY.limit - 1):
            found = plan(
                app, replace(world.observed(), attempts={"component/a/app-c/file:///c.wasm": attempt}), now, self.POLICY
            )
            assert found.wake_at is not None
            waits.append(found.wake_at - now)
            now = found.wake_at
            attempt = backoff.failed(backoff.sent(attempt, command, now, self.POLICY), "no such file", now)

        found = plan(
            app,
            replace(world.observed(), attempts={"component/a/app-c/file:///c.wasm": attempt}),
            now + 999,
            self.POLICY,
        )

        assert waits == [1.0, 2.0]
        assert found.commands == ()
        assert found.wake_at is None
        status = found.applications["app"]
        assert status.type is StatusType.FAILED
        assert "no such file (after 3 attempts)" in status.message
        assert status.conditions[0].since == 100.0

    def test_another_command_starts_counting_anew(self) -> None:
        world, _, command = self.scale()
        attempt = backoff.Attempt(command, 99, 100.0, False, "broken", 100.0)
        changed = desired(application("app", component("c", spread(1), image="file:///fixed.wasm")))

        found = plan(
            changed,
            replace(world.observed(), attempts={"component/a/app-c/file:///c.wasm": attempt}),
            100.0,
            self.POLICY,
        )

        assert len(found.commands) == 1

    def test_what_needs_a_command_that_failed_is_held_back_with_it(self) -> None:
        world, app = World.of(host("a")), desired(KV)
        command = next(c for c in world.plan(app).commands if isinstance(c, PutConfig) and c.name == "counter-bucket")
        attempt = backoff.failed(backoff.sent(None, command, 100.0, self.POLICY), "denied", 100.0)

        found = plan(app, replace(world.observed(), attempts={"config/counter-bucket": attempt}), 100.5, self.POLICY)

        links = [step.command.link.source_id for step in found.steps if isinstance(step.command, PutLink)]
        assert links == ["counter-http"]


def test_an_unhealthy_provider_is_told_of_and_left_to_its_host() -> None:
    app = desired(application("app", provider("p")))
    world = World.of(host("a"))
    world.settle(app)
    ill = {id: replace(running, healthy=False) for id, running in world.hosts["a"].providers.items()}
    world.hosts["a"] = replace(world.hosts["a"], providers=ill)

    found = world.plan(app)

    assert found.commands == ()
    assert found.applications["app"].type is StatusType.UNHEALTHY
    assert found.applications["app"].message == "Unhealthy provider on a"


def test_a_provider_that_refuses_a_link_is_unhealthy_with_the_reason() -> None:
    app = desired(application("app", provider("p")))
    world = World.of(host("a"))
    world.settle(app)
    refusing = {id: replace(running, problem="port taken") for id, running in world.hosts["a"].providers.items()}
    world.hosts["a"] = replace(world.hosts["a"], providers=refusing)

    found = world.plan(app)

    assert found.commands == ()
    assert found.applications["app"].type is StatusType.UNHEALTHY
    assert found.applications["app"].message == "Unhealthy provider on a: port taken"


@pytest.mark.parametrize("passes", [3])
def test_conditions_keep_the_time_they_began(passes: int) -> None:
    app = desired(application("app", component("c", spread(1, group("east", zone="east")))))
    observed = World.of(host("a")).observed()
    for i in range(passes):
        found = plan(app, observed, 100.0 + i)
        observed = replace(observed, since=found.since)

    assert {condition.since for condition in found.applications["app"].conditions} == {100.0}
