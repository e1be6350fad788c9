"""What deploying would do, before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.wadm.manifests import application, component, group, http, link, manifest, provider, spread
from tests.wadm.simulation import World, host
from trellis_lattice.ids import short
from trellis_wadm.catalog import StoredApplication
from trellis_wadm.foresight import after, foresee
from trellis_wadm.planner import Observed, StatusType
from trellis_wadm.planner.commands import describe
from trellis_wadm.preview import NEW_VERSION, Intent, Preview, preview
from trellis_wadm.wishes import Wishes

SHARED = {"experimental.wasmcloud.dev/shared": "true"}


def stored(*applications: Mapping[str, Any], deployed: bool = True) -> dict[str, StoredApplication]:
    found = {}
    for data in applications:
        parsed = manifest(data)
        app = StoredApplication(parsed.name).with_version(parsed)
        found[parsed.name] = app.with_deployed(parsed.version) if deployed else app
    return found


def settled(world: World, applications: Mapping[str, StoredApplication]) -> Observed:
    """The world once it is as these applications ask."""
    world.settle(Wishes().of(applications))
    return world.observed()


def lines(found: Preview) -> list[list[str]]:
    return [[describe(step.command) for step in steps] for steps in found.passes]


def app(name: str = "one", instances: int = 2, **more: Any) -> dict[str, Any]:
    return application(name, component("c", spread(instances)), **more)


def shared_provider() -> dict[str, Any]:
    """An application that lends its HTTP server."""
    return application("edge", provider("http"), annotations=SHARED)


def user_of_http(name: str, address: str) -> dict[str, Any]:
    reference = {"application": {"name": "edge", "component": "http"}}
    server = {"name": "http", "type": "capability", "properties": reference, "traits": [http("c", address, name=name)]}
    return application(name, component("c", spread(1)), server)


def test_a_first_deployment_is_every_command_it_takes() -> None:
    data = application(
        "one", component("c", spread(2), config=[{"name": "x", "properties": {"a": "1"}}]), provider("kv")
    )
    data["spec"]["components"][0]["traits"].append(link("kv"))

    found = preview([Intent("one", manifest(data))], {}, World.of(host("A")).observed(), 0.0)

    assert lines(found) == [
        [
            "put config one-x",
            "link one-c to one-kv (wasi:keyvalue/store, name default)",
            f"run component one-c on {short('A')} with up to 2 instances",
            f"start provider one-kv on {short('A')}",
        ]
    ]
    assert [step.reason for step in found.steps[-2:]] == ["it does not run there", "it does not run there"]
    assert [(t.before, t.after) for t in found.transitions] == [(None, "v1")]
    assert found.changes
    assert found.possible
    assert found.settled


def test_what_is_deployed_already_changes_nothing() -> None:
    applications = stored(app())
    observed = settled(World.of(host("A"), host("B")), applications)

    found = preview([Intent("one", applications["one"].deployed)], applications, observed, 0.0)

    assert not found.changes
    assert found.passes == ()
    assert found.possible


def test_what_the_scheduler_does_anyway_is_told_apart() -> None:
    applications = stored(app("one"), app("two"))
    world = World.of(host("A"))
    world.settle(Wishes().of({"one": applications["one"]}))

    found = preview(
        [Intent("one", manifest(app("one", instances=3, version="v2")))], applications, world.observed(), 0.0
    )

    assert lines(found)[0][0].startswith("run component one-c")
    assert [describe(step.command) for step in found.pending] == [
        f"run component two-c on {short('A')} with up to 2 instances"
    ]
    again = preview([Intent("one", applications["one"].deployed)], applications, world.observed(), 0.0)
    assert not again.changes


def test_a_move_takes_two_passes_and_both_are_shown() -> None:
    applications = stored(application("one", component("c", spread(2, group("here", zone="a")))))
    observed = settled(World.of(host("A", zone="a"), host("B", zone="b")), applications)
    moved = application("one", component("c", spread(2, group("here", zone="b"))), version="v2")

    found = preview([Intent("one", manifest(moved))], applications, observed, 0.0)

    assert lines(found) == [
        [f"run component one-c on {short('B')} with up to 2 instances"],
        [f"stop component one-c on {short('A')}"],
    ]


def test_what_cannot_be_placed_is_a_problem_with_its_reasons() -> None:
    wanted = application("one", component("c", spread(2, group("far", zone="mars"))))

    found = preview([Intent("one", manifest(wanted))], {}, World.of(host("A", zone="a")).observed(), 0.0)

    (problem,) = found.problems
    assert (problem.app, problem.code, problem.subject) == ("one", "unsatisfied", "one-c")
    assert "zone=mars is required" in problem.message
    assert [verdict.rule for placement in found.placements for verdict in placement.verdicts] == ["zone=mars"]


def test_a_lattice_without_hosts_places_nothing() -> None:
    found = preview([Intent("one", manifest(app()))], {}, Observed(), 0.0)

    assert [problem.code for problem in found.problems] == ["unsatisfied"]
    assert found.transitions[0].changes


def test_two_listeners_on_one_port_are_refused_with_the_other_application() -> None:
    def web(name: str) -> dict[str, Any]:
        return application(name, component("c", spread(1)), provider("http", http("c", "0.0.0.0:8000")))

    applications = stored(web("one"))
    observed = settled(World.of(host("A")), applications)

    found = preview([Intent("two", manifest(web("two")))], applications, observed, 0.0)

    (problem,) = found.problems
    assert (problem.code, problem.other) == ("refused", "one")
    assert "Two listeners on one address" in problem.message
    assert found.steps == ()
    assert not found.changes


def test_a_version_that_is_taken_is_refused_unless_it_is_replaced() -> None:
    applications = stored(app(instances=2))
    observed = settled(World.of(host("A")), applications)
    other = manifest(app(instances=5))

    refused = preview([Intent("one", other)], applications, observed, 0.0)
    replaced = preview([Intent("one", other, replace=True)], applications, observed, 0.0)

    assert "Manifest version v1 already exists" in refused.problems[0].message
    assert lines(replaced) == [[f"run component one-c on {short('A')} with up to 5 instances"]]


def test_a_manifest_without_a_version_gets_a_new_one() -> None:
    data = app()
    del data["metadata"]["annotations"]["version"]

    found = preview([Intent("one", manifest(data))], {}, World.of(host("A")).observed(), 0.0)

    assert found.transitions[0].after == NEW_VERSION


def test_several_applications_are_deployed_in_their_order() -> None:
    intents = [
        Intent("edge", manifest(shared_provider())),
        Intent("user", manifest(user_of_http("user", "0.0.0.0:80"))),
    ]
    observed = World.of(host("A")).observed()

    assert preview(intents, {}, observed, 0.0).possible
    (problem,) = preview(intents[::-1], {}, observed, 0.0).problems
    assert (problem.app, "no application 'edge'" in problem.message) == ("user", True)


def test_undeploying_takes_only_what_nobody_else_asks_for() -> None:
    applications = stored(shared_provider(), user_of_http("one", "0.0.0.0:80"), user_of_http("two", "0.0.0.0:81"))
    observed = settled(World.of(host("A")), applications)

    found = preview([Intent("one", None)], applications, observed, 0.0)
    refused = preview([Intent("edge", None)], applications, observed, 0.0)

    assert sorted(text for steps in lines(found) for text in steps) == [
        "delete config one-listen",
        "delete link edge-http to one-c (wasi:http, name one)",
        f"stop component one-c on {short('A')}",
    ]
    assert found.transitions[0].after is None
    assert refused.problems[0].other == "one"
    assert refused.steps == ()


def test_an_application_that_gains_or_loses_is_told() -> None:
    needing = application("user", component("c", spread(1), config=[{"name": "one-x"}]))
    lending = application("one", component("c", spread(1), config=[{"name": "x", "properties": {"a": "1"}}]))
    applications = stored(needing, lending)
    observed = settled(World.of(host("A")), applications)

    worse = preview([Intent("one", None)], applications, observed, 0.0)
    alone = {"user": applications["user"]}
    better = preview([Intent("one", manifest(lending))], alone, World.of(host("A")).observed(), 0.0)

    assert [(effect.app, effect.kind) for effect in worse.effects] == []
    assert ("user", "better") in [(effect.app, effect.kind) for effect in better.effects]
    assert ("user", "touched") in [(effect.app, effect.kind) for effect in better.effects]


def test_looking_ahead_ends_where_carrying_out_ends() -> None:
    data = application(
        "one",
        component("c", spread(7, group("a", 40, zone="a"), group("b", 30, zone="b"))),
        provider("kv", spread(2)),
        provider("http", http("c", "0.0.0.0:80")),
    )
    desired = Wishes().of(stored(data))
    world = World.of(host("A", zone="a"), host("B", zone="b"), host("C"))

    seen = foresee(desired, world.observed(), 0.0)
    observed = world.observed()
    for found in seen.passes:
        observed = after(observed, found)
    world.settle(desired)

    assert seen.settles
    assert seen.last.applications["one"].type is StatusType.DEPLOYED
    assert observed.hosts == world.hosts
    assert set(observed.links) == set(world.links)


def test_looking_ahead_is_bounded() -> None:
    desired = Wishes().of(stored(app()))

    found = foresee(desired, World.of(host("A")).observed(), 0.0, passes=0)

    assert not found.settles
