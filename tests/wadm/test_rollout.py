"""How a new image reaches the hosts: host by host, and back again where one refuses it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.wadm.manifests import application, component, group, manifest, policy, provider, spread, with_policies
from tests.wadm.simulation import Reconciled, host
from trellis_wadm.planner import Desired, StatusType, desired_of
from trellis_wadm.planner.commands import ScaleComponent, StartProvider, StopProvider

OLD, NEW = "file:///old.wasm", "file:///new.wasm"


def app(image: str, instances: int = 3, *groups: dict, **policies: str) -> Desired:
    data = application("app", component("c", spread(instances, *groups), image=image))
    return desired_of([manifest(with_policies(data, policy(**policies)) if policies else data)])


def images(world: Reconciled) -> dict[str, str]:
    return {h.id: h.components["app-c"].image for h in world.hosts.values() if "app-c" in h.components}


def running(*names: str, foreign: bool = False, instances: int = 3) -> Reconciled:
    world = Reconciled.of(*[host(name, foreign=foreign) for name in names])
    world.reconcile(app(OLD, instances))
    world.history.clear()
    return world


def test_a_new_image_comes_host_by_host_and_the_old_one_goes_on_until_then() -> None:
    world = running("a", "b", "c")
    seen = []
    while (found := world.make_pass(app(NEW))).changes:
        (command,) = found.changes
        assert isinstance(command, ScaleComponent)
        assert (command.image, command.allow_update, command.count) == (NEW, True, 1)
        assert found.applications["app"].type is StatusType.RECONCILING
        seen.append(command.host)

    assert seen == ["a", "b", "c"]
    assert set(images(world).values()) == {NEW}
    assert world.look(app(NEW)).applications["app"].type is StatusType.DEPLOYED


def test_as_many_hosts_at_a_time_as_the_policy_says() -> None:
    world = running("a", "b", "c")

    first = world.make_pass(app(NEW, update_parallel="2"))

    assert [command.host for command in first.commands if isinstance(command, ScaleComponent)] == ["a", "b"]


def test_the_next_host_follows_when_the_last_one_runs_the_new_image_not_before() -> None:
    world = running("a", "b", "c")
    found = world.look(app(NEW))
    for command in found.changes:
        world.journal.sent(command, "app", world.now)

    waiting = world.look(app(NEW))

    assert waiting.changes == ()
    conditions = {c.reason: c for c in waiting.applications["app"].conditions}
    assert conditions["in-progress"].host == "a"
    assert "3 host(s) still run another image" in conditions["updating"].message


def test_a_host_that_refuses_halts_the_update_and_takes_it_back() -> None:
    world = running("a", "b", "c")
    world.refuses.add(("b", NEW))

    world.reconcile(app(NEW))

    assert images(world) == {"a": OLD, "b": OLD, "c": OLD}
    assert [(c.host, c.image) for c in world.history if isinstance(c, ScaleComponent)] == [
        ("a", NEW),
        ("b", NEW),
        ("a", OLD),
    ]
    found = world.look(app(NEW))
    assert found.changes == ()
    status = found.applications["app"]
    assert status.type is StatusType.FAILED
    assert "it cannot run here" in status.message
    assert f"halted and taken back to {OLD}" in status.message


def test_another_deploy_tries_again() -> None:
    world = running("a", "b", "c")
    world.refuses.add(("b", NEW))
    world.reconcile(app(NEW))
    world.refuses.clear()
    assert world.look(app(NEW)).commands == ()

    world.journal.forget_application("app")
    world.reconcile(app(NEW))

    assert set(images(world).values()) == {NEW}
    assert world.look(app(NEW)).applications["app"].type is StatusType.DEPLOYED


def test_a_halted_update_stays_halted_whatever_else_changes() -> None:
    world = running("a", "b", "c", instances=6)
    world.refuses.add(("b", NEW))
    world.reconcile(app(NEW, 6))
    world.history.clear()

    world.hosts["c"] = replace(world.hosts["c"], live=False)
    world.reconcile(app(NEW, 6))
    world.reconcile(app(NEW, 8))

    assert all(c.image == OLD for c in world.history if isinstance(c, ScaleComponent))
    assert world.count("app-c") | {"c": 0} == {"a": 4, "b": 4, "c": 0}


def test_the_old_version_is_deployed_again_without_a_trace() -> None:
    world = running("a", "b")
    world.refuses.add(("b", NEW))
    world.reconcile(app(NEW))

    world.reconcile(app(OLD))

    assert world.look(app(OLD)).applications["app"].type is StatusType.DEPLOYED
    assert all(attempt.settled for key, attempt in world.journal.attempts.items() if NEW in key)


def test_a_host_that_waits_for_its_turn_still_takes_over_from_one_that_is_lost() -> None:
    world = running("a", "b", "c", instances=6)
    world.make_pass(app(NEW, 6))
    world.hosts["a"] = replace(world.hosts["a"], live=False)

    found = world.make_pass(app(NEW, 6))

    assert [(c.host, c.image, c.count) for c in found.commands if isinstance(c, ScaleComponent)] == [
        ("b", NEW, 3),
        ("c", OLD, 3),
    ]


def test_a_v1_host_ends_the_old_image_before_it_starts_the_new_one() -> None:
    world = running("a", "b", foreign=True)

    first = world.make_pass(app(NEW))

    assert [(c.host, c.image, c.count) for c in first.commands if isinstance(c, ScaleComponent)] == [
        ("a", OLD, 0)  # v1 works after it has acknowledged: a start in the same pass could overtake this
    ]
    assert images(world) == {"b": OLD}
    assert [c for c in world.make_pass(app(NEW)).commands if isinstance(c, ScaleComponent) and not c.count] == []
    assert images(world) == {"a": NEW, "b": OLD}
    world.reconcile(app(NEW))
    assert images(world) == {"a": NEW, "b": NEW}


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
@pytest.mark.parametrize("foreign", [True, False])
def test_the_old_image_comes_back_also_where_it_had_ended_already(names: str, strategy: str, foreign: bool) -> None:
    world = running(*names, foreign=foreign)
    world.refuses |= {(names[-1], NEW)}

    world.reconcile(app(NEW, update=strategy))

    assert images(world) == dict.fromkeys(names, OLD)
    assert world.count("app-c") == {name: 3 // len(names) + (i < 3 % len(names)) for i, name in enumerate(names)}
    assert world.look(app(NEW, update=strategy)).applications["app"].type is StatusType.FAILED


def test_a_v1_host_is_not_emptied_while_another_one_is_empty() -> None:
    world = running("a", "b", foreign=True)
    ended = next(c for c in world.look(app(NEW)).commands if isinstance(c, ScaleComponent) and not c.count)
    world.journal.sent(ended, "app", world.now)
    world.apply(ended)

    found = world.look(app(NEW))

    assert {c.host for c in found.commands if isinstance(c, ScaleComponent)} == {"a"}


def test_recreate_ends_the_old_image_everywhere_before_the_new_one_starts() -> None:
    world = running("a", "b", "c")

    first = world.make_pass(app(NEW, update="recreate"))

    assert [(c.host, c.count) for c in first.commands if isinstance(c, ScaleComponent)] == [
        ("a", 0),
        ("b", 0),
        ("c", 0),
    ]
    world.reconcile(app(NEW, update="recreate"))
    assert images(world) == {"a": NEW, "b": NEW, "c": NEW}


def test_what_cannot_start_ends_nothing() -> None:
    world = running("a", "b")
    new = component("c", spread(3), image=NEW, config=[{"name": "absent"}])
    wish = desired_of([manifest(with_policies(application("app", new), policy(update="recreate")))])

    world.reconcile(wish)

    assert images(world) == {"a": OLD, "b": OLD}
    assert "absent does not exist" in world.look(wish).applications["app"].message


def test_image_and_place_change_together_and_nothing_ends_before_the_new_place_runs() -> None:
    world = running("a", "b")
    world.hosts |= {name: host(name, zone="east") for name in ("c", "d")}
    moved = app(NEW, 3, group("east", zone="east"))

    first = world.make_pass(moved)

    assert {(c.host, c.image) for c in first.commands if isinstance(c, ScaleComponent)} == {("c", NEW), ("d", NEW)}
    world.reconcile(moved)
    assert images(world) == {"c": NEW, "d": NEW}


def test_a_move_to_hosts_that_refuse_the_new_image_is_made_with_the_old_one() -> None:
    world = running("a", "b")
    world.hosts |= {name: host(name, zone="east") for name in ("c", "d")}
    world.refuses.add(("d", NEW))
    moved = app(NEW, 3, group("east", zone="east"))

    world.reconcile(moved)

    assert images(world) == {"c": OLD, "d": OLD}
    assert world.look(moved).applications["app"].type is StatusType.FAILED


def test_providers_restart_host_by_host_and_stop_at_the_first_that_does_not_come_up() -> None:
    def providers(image: str) -> Desired:
        return desired_of([manifest(application("app", provider("p", spread(3), image=image)))])

    world = Reconciled.of(host("a"), host("b"), host("c"))
    world.reconcile(providers("p:1"))
    world.refuses.add(("b", "p:2"))

    first = world.make_pass(providers("p:2"))
    assert [(type(c), c.host) for c in first.commands if isinstance(c, StopProvider | StartProvider)] == [
        (StopProvider, "a"),
        (StartProvider, "a"),
    ]
    world.reconcile(providers("p:2"))

    assert {h.id: p.image for h in world.hosts.values() for p in h.providers.values()} == {"a": "p:2", "c": "p:1"}
    assert world.look(providers("p:2")).applications["app"].type is StatusType.FAILED
