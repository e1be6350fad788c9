"""What holds on the way: worlds that refuse, lose and gain hosts while images, places and policies change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

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
from tests.wadm.simulation import Reconciled
from trellis_wadm.planner import Desired, Host, RunningComponent, RunningProvider, StatusType, desired_of
from trellis_wadm.planner.commands import ScaleComponent, StartProvider
from trellis_wadm.planner.planning import DEFAULT_POLICY
from trellis_wadm.planner.ports import Ports
from trellis_wadm.planner.view import View

ZONES = ("east", "west")
IMAGES = ("1.wasm", "2.wasm")
NAMES = "abcd"

policies = st.fixed_dictionaries(
    {},
    optional={
        "rebalance": st.sampled_from(["never", "even"]),
        "max_moves": st.sampled_from(["1", "2"]),
        "update": st.sampled_from(["rolling", "recreate"]),
        "update_parallel": st.sampled_from(["1", "2"]),
    },
)
groups = st.builds(
    lambda name, weight, zone: group(name, weight, **({"zone": zone} if zone else {})),
    st.sampled_from("gh"),
    st.sampled_from([None, 1, 40]),
    st.sampled_from([None, *ZONES]),
)
scalers = st.builds(
    lambda instances, entries: spread(instances, *entries),
    st.integers(1, 6),
    st.lists(groups, max_size=2, unique_by=lambda entry: entry["name"]),
)


@st.composite
def applications(draw: st.DrawFn, name: str, kinds: st.SearchStrategy[dict[str, str]]) -> dict[str, Any]:
    parts: list[Mapping[str, Any]] = [component("c", draw(scalers), image=draw(st.sampled_from(IMAGES)))]
    if draw(st.booleans()):
        parts.append(component("d", draw(scalers), link("p"), image=draw(st.sampled_from(IMAGES))))
        parts.append(provider("p", draw(scalers), image=draw(st.sampled_from(["p:1", "p:2"]))))
    if draw(st.booleans()):
        port = draw(st.sampled_from(["8000", "8001"]))
        parts.append(provider("web", spread(1, draw(groups)), http("c", f"0.0.0.0:{port}"), image="web:1"))
    return with_policies(application(name, *parts), policy(**draw(kinds)))


@st.composite
def wishes(draw: st.DrawFn, kinds: st.SearchStrategy[dict[str, str]] = policies) -> Desired:
    names = draw(st.lists(st.sampled_from(["one", "two"]), unique=True, min_size=1, max_size=2))
    return desired_of([manifest(draw(applications(name, kinds))) for name in names])


@st.composite
def fleets(draw: st.DrawFn, *, foreign: bool = True) -> Reconciled:
    world = Reconciled()
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=4)):
        labels = {"zone": draw(st.sampled_from(ZONES))}
        if not foreign or draw(st.sampled_from([True, True, False])):
            labels["host.impl"] = "trellis"
        world.hosts[name] = Host(name, name, labels)
    return world


@st.composite
def disturbances(draw: st.DrawFn) -> dict[str, str]:
    """What happens to some hosts."""
    what = st.sampled_from(["die", "drain", "cordon", "return"])
    return draw(st.dictionaries(st.sampled_from(NAMES), what, max_size=3))


refusals = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from([*IMAGES, "p:1", "p:2", "web:1"])), max_size=3)


def disturb(world: Reconciled, events: Mapping[str, str]) -> None:
    for name, event in events.items():
        host = world.hosts.get(name)
        if event == "return" or host is None:
            back = Host(name, name, {"zone": "east", "host.impl": "trellis"})
            world.hosts[name] = back if host is None or not host.live else replace(host, draining=False, cordoned=False)
            world.journal.forget_host(name)
        elif event == "die":
            world.hosts[name] = replace(host, live=False, components={}, providers={})
        else:
            world.hosts[name] = replace(host, draining=event == "drain", cordoned=event == "cordon")


def looks_the_same_twice(world: Reconciled, wish: Desired) -> None:
    found = world.look(wish)
    assert found.commands == ()
    assert world.look(wish) == found


@settings(max_examples=150, deadline=None)
@given(fleets(), wishes(), wishes(), disturbances(), refusals)
def test_it_comes_to_rest_whatever_happens(
    world: Reconciled, first: Desired, wish: Desired, events: dict[str, str], refused: set[tuple[str, str]]
) -> None:
    world.reconcile(first)
    world.refuses = refused
    world.make_pass(wish)
    disturb(world, events)

    world.reconcile(wish)

    looks_the_same_twice(world, wish)
    for scaler in wish.all_workloads():
        counts = world.count(scaler.workload)
        if not scaler.provider and wish.applications[scaler.app].name:
            settled = {name: n for name, n in counts.items() if not world.hosts[name].draining}
            refusing = any((name, image) in refused for name in world.hosts for image in IMAGES)
            assert sum(settled.values()) <= scaler.instances or refusing


@settings(max_examples=100, deadline=None)
@given(fleets(), wishes(), wishes(), disturbances())
def test_without_refusals_everything_that_fits_is_deployed_with_its_new_image(
    world: Reconciled, first: Desired, wish: Desired, events: dict[str, str]
) -> None:
    world.reconcile(first)
    world.make_pass(wish)
    disturb(world, events)

    world.reconcile(wish)

    statuses = world.look(wish).applications
    for scaler in wish.all_workloads():
        if statuses[scaler.app].type is StatusType.DEPLOYED:
            running = [{**h.components, **h.providers}.get(scaler.workload) for h in world.hosts.values() if h.live]
            assert {item.image for item in running if item is not None} == {scaler.image}


rolling = st.fixed_dictionaries(
    {"update": st.just("rolling")}, optional={"rebalance": st.sampled_from(["never", "even"])}
)


@settings(max_examples=100, deadline=None)
@given(
    fleets(foreign=False), wishes(rolling), wishes(rolling), st.dictionaries(st.sampled_from(NAMES), st.just("drain"))
)
def test_what_moves_or_changes_its_image_never_ceases_to_run(
    world: Reconciled, first: Desired, wish: Desired, drained: dict[str, str]
) -> None:
    world.reconcile(first)
    before = {scaler.workload for scaler in first.all_workloads() if not scaler.provider}
    kept = {scaler.workload for scaler in wish.all_workloads()} & before
    disturb(world, {name: event for name, event in drained.items() if name in world.hosts})
    serving = {id for id in kept if world.count(id)}
    placed = {p.workload for p in world.look(wish).placements if p.placed}

    while (found := world.make_pass(wish)).steps:
        for id in serving & placed:
            assert world.count(id), found.steps


@settings(max_examples=60, deadline=None)
@given(fleets(foreign=False), wishes(rolling), wishes(rolling), refusals)
def test_no_more_hosts_at_a_time_change_their_image_than_the_policy_says(
    world: Reconciled, first: Desired, wish: Desired, refused: set[tuple[str, str]]
) -> None:
    world.reconcile(first)
    world.refuses = refused
    for _ in range(40):
        before = {(h.id, id): c.image for h in world.hosts.values() for id, c in h.components.items()}
        found = world.make_pass(wish)
        changed = Counter(
            command.id
            for command in found.changes
            if isinstance(command, ScaleComponent)
            and command.count
            and before.get((command.host, command.id), command.image) != command.image
        )
        assert all(count <= 1 for count in changed.values())
        if not found.steps:
            break


@settings(max_examples=100, deadline=None)
@given(fleets(foreign=False), wishes(), wishes())
def test_no_provider_starts_where_its_port_is_taken_by_one_of_ours(
    world: Reconciled, first: Desired, wish: Desired
) -> None:
    world.reconcile(first)
    wanted = {scaler.workload for scaler in wish.all_workloads()}
    for _ in range(40):
        found = world.look(wish)
        ports = Ports(wish, View(world.observed(), world.now, DEFAULT_POLICY))
        running = {(h.id, id) for h in world.hosts.values() for id in h.providers}
        stays = {(p.workload, host) for p in found.placements for host in p.placed}
        for command in found.commands:
            if hasattr(command, "id") and type(command).__name__ == "StopProvider":
                running.discard((command.host, command.id))
            if isinstance(command, StartProvider):
                for name, other in sorted(running):
                    taken = ports.wanted.get(command.id, set()) & ports.open.get(other, set())
                    rightful = other in wanted and (other, name) in stays
                    assert name != command.host or other == command.id or not taken or rightful
        if not world.make_pass(wish).steps:
            break


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 12), st.integers(1, 3), st.booleans())
def test_even_spreads_end_even_and_stay_so(running: list[int], instances: int, moves: int, drained: bool) -> None:
    data = application("app", component("c", spread(instances)))
    wish = desired_of([manifest(with_policies(data, policy(rebalance="even", max_moves=str(moves))))])
    world = Reconciled()
    for name, count in zip(NAMES, running, strict=False):
        components = {"app-c": RunningComponent("app-c", "file:///c.wasm", count)} if count else {}
        world.hosts[name] = Host(name, name, {"host.impl": "trellis"}, components)
    if drained and len(running) > 1:
        world.hosts["a"] = replace(world.hosts["a"], draining=True)

    world.reconcile(wish)

    levels = [world.count("app-c").get(h.id, 0) for h in world.hosts.values() if not h.draining]
    assert sum(levels) == instances
    assert max(levels) - min(levels) <= 1
    looks_the_same_twice(world, wish)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4), st.integers(1, 8), st.integers(1, 2))
def test_single_places_are_shared_out_among_hosts_that_join(joining: int, apps: int, moves: int) -> None:
    def wish() -> Desired:
        data = (application(f"app{i}", component("c", spread(1)), provider("p")) for i in range(apps))
        return desired_of(
            [manifest(with_policies(item, policy(rebalance="even", max_moves=str(moves)))) for item in data]
        )

    world = Reconciled.of(Host("a", "a", {"host.impl": "trellis"}, providers={"x": RunningProvider("x", "x")}))
    world.reconcile(wish())
    for name in NAMES[1:joining]:
        world.hosts[name] = Host(name, name, {"host.impl": "trellis"})

    world.reconcile(wish(), passes=80)

    levels = [host.workloads for host in world.hosts.values()]
    assert max(levels) - min(levels) <= 1
    assert sum(levels) == 2 * apps + 1
    looks_the_same_twice(world, wish())
