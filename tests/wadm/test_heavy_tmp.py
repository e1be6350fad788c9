"""What holds for every plan: idempotent, converging, never more than asked, and nobody loses what another has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wadm.manifests import application, component, group, link, provider, spread
from tests.wadm.simulation import World
from trellis_lattice.links import Link
from trellis_wadm import naming
from trellis_wadm.manifest import parse_data
from trellis_wadm.planner import Desired, Host, RunningComponent, RunningProvider, desired_of
from trellis_wadm.planner.commands import ScaleComponent, StartProvider
from trellis_wadm.planner.eligibility import candidates
from trellis_wadm.planner.spread import compute_spread, distribute, match_hosts

ZONES = ("east", "west")
APPS = ("one", "two", "three")
COMPONENTS = ("c", "d")
PROVIDERS = ("p", "q")

groups = st.builds(
    lambda name, weight, zone: group(name, weight, **({"zone": zone} if zone else {})),
    st.sampled_from(["g", "h", "i"]),
    st.sampled_from([None, 1, 40, 100]),
    st.sampled_from([None, *ZONES]),
)
spreads = st.builds(
    lambda instances, entries, daemon: spread(instances, *entries, daemon=daemon),
    st.integers(0, 7),
    st.lists(groups, max_size=3, unique_by=lambda entry: entry["name"]),
    st.booleans(),
)


@st.composite
def applications(draw: st.DrawFn, name: str) -> dict[str, Any]:
    parts: list[Mapping[str, Any]] = []
    targets = draw(st.lists(st.sampled_from(PROVIDERS), unique=True, max_size=2))
    for part in draw(st.lists(st.sampled_from(COMPONENTS), unique=True, max_size=2)):
        values = {"v": draw(st.sampled_from(["1", "2"]))}
        links = [link(target, to={f"{part}{target}": values}, name=f"to{target}") for target in targets]
        inline = draw(st.booleans())
        config = [{"name": f"{part}cfg", "properties": values}] if inline else []
        image = draw(st.sampled_from(["file:///1.wasm", "file:///2.wasm"]))
        parts.append(component(part, draw(spreads), *links, image=image, config=config))
    images = st.sampled_from(["p:1", "p:2"])
    parts += [provider(part, *draw(st.lists(spreads, max_size=1)), image=draw(images)) for part in targets]
    return application(name, *parts)


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    names = draw(st.lists(st.sampled_from(APPS), unique=True, max_size=3))
    manifests = []
    for name in names:
        parsed = parse_data(draw(applications(name)))
        assert parsed.manifest is not None
        manifests.append(parsed.manifest)
    return desired_of(manifests)


ids = st.builds(lambda app, name: f"{app}-{name}", st.sampled_from(APPS), st.sampled_from(COMPONENTS + PROVIDERS))
annotations = st.one_of(
    st.just({}),
    st.builds(
        lambda app, scaler, name: {
            naming.MANAGED_BY_ANNOTATION: naming.MANAGER,
            naming.APP_ANNOTATION: app,
            naming.SCALER_ANNOTATION: scaler,
            naming.SPREAD_ANNOTATION: name,
        },
        st.sampled_from(APPS),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["g", "h", "default", "g=1,h=2", "="]),
    ),
)


@st.composite
def hosts(draw: st.DrawFn, name: str) -> Host:
    zone = draw(st.sampled_from([None, *ZONES]))
    running = draw(
        st.dictionaries(ids.filter(lambda i: i[-1] in COMPONENTS), st.tuples(st.integers(1, 9), annotations))
    )
    providers = draw(st.dictionaries(ids.filter(lambda i: i[-1] in PROVIDERS), annotations, max_size=3))
    return Host(
        name,
        name,
        {"zone": zone} if zone else {},
        {id: RunningComponent(id, "file:///1.wasm", count, notes) for id, (count, notes) in running.items()},
        {id: RunningProvider(id, "p:1", notes) for id, notes in providers.items()},
        live=draw(st.sampled_from([True, True, True, False])),
        cordoned=draw(st.sampled_from([False, False, True])),
        draining=draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True, max_size=4))
    world = World.of(*[draw(hosts(name)) for name in names])
    world.configs = {key: {"v": "0"} for key in draw(st.sets(st.sampled_from(["one-ccfg", "foreign"])))}
    if draw(st.booleans()):
        world.links.append(
            Link(
                source_id="one-c",
                target="one-p",
                name="top",
                wit_namespace="wasi",
                wit_package="keyvalue",
                interfaces=["store"],
            )
        )
    return world


@settings(max_examples=1500, deadline=None)
@given(worlds(), wishes())
def test_every_world_converges_and_then_nothing_is_left_to_do(world: World, wish: Desired) -> None:
    world.settle(wish)

    found = world.plan(wish)

    assert found.commands == ()
    assert found.owned == world.owned


@settings(max_examples=600, deadline=None)
@given(worlds(), wishes())
def test_a_plan_depends_on_its_arguments_alone(world: World, wish: Desired) -> None:
    reordered = World(dict(reversed(world.hosts.items())), list(world.links), dict(world.configs), world.owned)

    assert world.plan(wish) == world.plan(wish)
    assert world.plan(wish).commands == reordered.plan(wish).commands


@settings(max_examples=1500, deadline=None)
@given(worlds(), wishes())
def test_what_fits_runs_as_often_as_asked_and_never_more(world: World, wish: Desired) -> None:
    world.settle(wish)

    for scaler in wish.all_workloads():
        counts = world.count(scaler.workload)
        fitting = [candidates(world.hosts.values(), wanted.requirements).open for wanted in scaler.spreads]
        live = {name for name, host in world.hosts.items() if host.live}
        total = sum(count for name, count in counts.items() if name in live and not world.hosts[name].draining)
        shares = compute_spread(scaler.instances, [wanted.weight for wanted in scaler.spreads])
        if scaler.daemon or scaler.provider:
            continue
        if all(fitting):
            assert total == scaler.instances
        else:
            assert total >= sum(share for share, hosts in zip(shares, fitting, strict=True) if hosts)
            assert total <= max(scaler.instances, 0)


@settings(max_examples=600, deadline=None)
@given(worlds(), wishes(), wishes())
def test_undeploying_one_application_takes_nothing_from_the_others(world: World, first: Desired, wish: Desired) -> None:
    world.settle(first)
    world.settle(wish)
    for name in wish.applications:
        left = Desired({other: app for other, app in wish.applications.items() if other != name})
        before = {scaler.workload: world.count(scaler.workload) for scaler in left.all_workloads()}
        links = {scaler.link.key for scaler in left.all_links()} & {stored.key for stored in world.links}
        shrunk = World(dict(world.hosts), list(world.links), dict(world.configs), world.owned)

        shrunk.settle(left)

        assert {scaler.workload: shrunk.count(scaler.workload) for scaler in left.all_workloads()} == before
        assert links <= {stored.key for stored in shrunk.links}


@settings(max_examples=600, deadline=None)
@given(wishes())
def test_undeploying_everything_leaves_an_empty_lattice(wish: Desired) -> None:
    world = World.of(*[Host(name, name, {"zone": "east"}) for name in "ab"])
    world.settle(wish)

    world.settle(Desired())

    assert (world.links, world.configs) == ([], {})
    assert all(not host.components and not host.providers for host in world.hosts.values())


@settings(max_examples=600, deadline=None)
@given(wishes(), st.sampled_from("abc"))
def test_the_loss_of_a_host_moves_only_what_ran_there(wish: Desired, lost: str) -> None:
    world = World.of(*[Host(name, name, {"zone": "east"}) for name in "abc"])
    world.settle(wish)
    world.hosts[lost] = replace(world.hosts[lost], live=False)

    for command in world.plan(wish).commands:
        if isinstance(command, ScaleComponent):
            running = world.hosts[command.host].components.get(command.id)
            assert command.host != lost
            assert running is None or command.count >= running.max_instances
        elif isinstance(command, StartProvider):
            assert command.host != lost


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2**32))


@given(st.integers(0, 2**32 - 1), counts, st.lists(st.sampled_from("abcdef"), unique=True))
def test_distribution_sums_up_and_moves_as_little_as_possible(
    target: int, current: dict[str, int], order: list[str]
) -> None:
    placed = distribute(target, current, order)

    total = sum(current.values())
    assert sum(placed.values()) == (target if order or total >= target else total)
    changes = [placed.get(host, 0) - current.get(host, 0) for host in {*placed, *current}]
    assert all(change >= 0 for change in changes) or all(change <= 0 for change in changes)
    assert distribute(target, placed, order) == placed


@given(st.integers(0, 50), st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))
def test_distribution_from_nothing_is_even(target: int, order: list[str]) -> None:
    placed = distribute(target, {}, order)

    levels = [placed.get(host, 0) for host in order]
    assert max(levels) - min(levels) <= 1


@given(st.integers(0, 2**32 - 1), st.lists(st.none() | st.integers(0, 10_000), min_size=1, max_size=8))
def test_shares_sum_up_to_what_was_asked(instances: int, weights: list[int | None]) -> None:
    shares = compute_spread(instances, weights)

    if any(weight != 0 for weight in weights):
        assert sum(shares) == instances
    assert all(share >= 0 for share in shares)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.data(),
)
def test_matching_fills_what_can_be_filled_and_favours_the_first(slots: list[int], data: st.DataObject) -> None:
    eligible = [data.draw(st.sets(st.sampled_from("abcdef"))) for _ in slots]
    order = data.draw(st.permutations("abcdef"))

    chosen = match_hosts(slots, eligible, order)

    for i, wanted in enumerate(slots):
        used = [host for host, spread in chosen.items() if spread == i]
        assert len(used) <= wanted
        assert set(used) <= eligible[i]
        left_over = eligible[i] - chosen.keys()
        assert len(used) == wanted or not left_over
    for length in range(len(order)):
        first = match_hosts(slots, eligible, order[:length])
        assert first.keys() <= chosen.keys()
