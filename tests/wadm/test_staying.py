"""What the scheduler tells a host that leaves: which of its workloads nobody will move."""

from __future__ import annotations

from dataclasses import replace

from tests.wadm.manifests import application, component, group, manifest, spread
from trellis_wadm import backoff
from trellis_wadm.planner import Desired, Host, Observed, RunningComponent, desired_of, plan
from trellis_wadm.planner.commands import ScaleComponent
from trellis_wadm.planner.staying import staying

POLICY = backoff.Policy()
ANYWHERE = desired_of([manifest(application("app", component("c", spread(1))))])
AT_HOME = desired_of([manifest(application("app", component("c", spread(1, group("home", zone="home")))))])
OURS = {"host.impl": "trellis"}


def world(desired: Desired, *others: Host) -> Observed:
    """The component runs on NA, which leaves."""
    home = Host("NA", labels={**OURS, "zone": "home"})
    start = next(
        step.command
        for step in plan(desired, Observed({"NA": home}), 0.0).steps
        if isinstance(step.command, ScaleComponent)
    )
    running = RunningComponent(start.id, start.image, start.count, start.annotations)
    leaving = replace(home, components={start.id: running}, draining=True)
    return Observed({host.id: host for host in (leaving, *others)})


def told(desired: Desired, observed: Observed, now: float = 0.0) -> frozenset[str]:
    return staying(plan(desired, observed, now), observed, "NA", now, POLICY)


def test_what_others_may_run_is_waited_for() -> None:
    assert told(ANYWHERE, world(ANYWHERE, Host("NB", labels=OURS))) == frozenset()


def test_what_no_other_may_run_stays() -> None:
    assert told(AT_HOME, world(AT_HOME, Host("NB", labels=OURS))) == {"app-c"}
    assert told(ANYWHERE, world(ANYWHERE, Host("NB", labels=OURS, draining=True))) == {"app-c"}


def test_of_a_host_that_is_not_known_yet_nobody_can_say() -> None:
    assert told(AT_HOME, world(AT_HOME, Host("NB", labels=OURS, known=False))) == frozenset()


def test_what_nobody_wants_any_more_is_ended_and_does_not_stay() -> None:
    assert told(Desired(), world(ANYWHERE, Host("NB", labels=OURS))) == frozenset()


def test_what_failed_for_good_elsewhere_stays() -> None:
    observed = world(ANYWHERE, Host("NB", labels=OURS))
    [step] = [each for each in plan(ANYWHERE, observed, 0.0).steps if isinstance(each.command, ScaleComponent)]
    attempt = backoff.sent(None, step.command, 0.0, POLICY)
    under_way = replace(observed, attempts={step.key: attempt})
    hopeless = replace(observed, attempts={step.key: backoff.failed(attempt, "no such image", 1.0, final=True)})

    assert told(ANYWHERE, under_way, 1.0) == frozenset()
    assert told(ANYWHERE, hopeless, 1.0) == {"app-c"}


def test_what_was_started_by_hand_is_not_the_schedulers_business() -> None:
    by_hand = Host("NA", labels=OURS, components={"x": RunningComponent("x", "i", 1)}, draining=True)
    assert told(ANYWHERE, Observed({"NA": by_hand})) == frozenset()
