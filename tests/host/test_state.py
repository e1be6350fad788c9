"""The host's state machine: examples of v1's semantics, then laws on random histories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trellis_host.state import (
    AbandonLaunch,
    ComponentSpec,
    Effect,
    Emit,
    HaltComponent,
    HaltProvider,
    HostState,
    LaunchComponent,
    LaunchProvider,
    ProviderSpec,
    ReshapeComponent,
)

ONE = ComponentSpec("c", "file:///one.wasm", 3, {"k": "v"}, ("cfg",))
PROVIDER = ProviderSpec("p", "http-server", {"k": "v"})


def _started() -> HostState:
    state = HostState("N", {})
    state.scale(ONE)
    state.component_ready(ONE)
    return state


def _events(effects: tuple[Effect, ...]) -> list[tuple[str, dict[str, Any]]]:
    return [(each.event.kind, each.event.to_data()) for each in effects if isinstance(each, Emit)]


def test_the_first_scale_launches_and_is_announced_when_ready() -> None:
    state = HostState("N", {})

    outcome = state.scale(ONE)

    assert (outcome.answer.success, outcome.answer.message) == (True, "")
    assert outcome.effects == (LaunchComponent(ONE),)
    assert state.components == []
    [(kind, data)] = _events(state.component_ready(ONE))
    assert kind == "component_scaled"
    assert data == {
        "component_id": "c",
        "host_id": "N",
        "image_ref": "file:///one.wasm",
        "max_instances": 3,
        "annotations": {"k": "v"},
    }
    assert state.components == [ONE]


def test_scaling_what_does_not_run_to_zero_is_announced_all_the_same() -> None:
    outcome = HostState("N", {}).scale(replace(ONE, max_instances=0))

    assert [kind for kind, _ in _events(outcome.effects)] == ["component_scaled"]


def test_a_failed_launch_leaves_nothing() -> None:
    state = HostState("N", {})
    state.scale(ONE)

    [(kind, data)] = _events(state.component_failed(ONE, "why"))

    assert (kind, data["error"]) == ("component_scale_failed", "why")
    assert not state.runs_component("c")


def test_resizing_keeps_the_image_and_takes_the_new_annotations() -> None:
    state = _started()

    outcome = state.scale(replace(ONE, image="file:///two.wasm", max_instances=5, annotations={"k": "w"}))

    assert outcome.answer.message.startswith("Requested to scale existing component to a different image reference:")
    assert isinstance(outcome.effects[0], ReshapeComponent)
    assert state.components == [replace(ONE, max_instances=5, annotations={"k": "w"})]


def test_scaling_to_zero_reports_what_was_stored() -> None:
    state = _started()

    outcome = state.scale(ComponentSpec("c", "", 0))

    assert outcome.effects[0] == HaltComponent("c")
    [(_, data)] = _events(outcome.effects)
    assert (data["image_ref"], data["max_instances"], data["annotations"]) == (ONE.image, 0, {"k": "v"})
    assert not state.runs_component("c")


def test_an_update_runs_beside_the_old_until_it_is_ready() -> None:
    state = _started()

    outcome = state.update("c", "file:///two.wasm", None)

    assert outcome.answer.message == "component c updating from file:///one.wasm to file:///two.wasm"
    assert state.components == [ONE]
    new = replace(ONE, image="file:///two.wasm")
    scaled = [(data["image_ref"], data["max_instances"]) for _, data in _events(state.component_ready(new))]
    assert scaled == [("file:///two.wasm", 3), ("file:///one.wasm", 0)]


def test_a_failed_update_keeps_the_old() -> None:
    state = _started()
    state.update("c", "file:///two.wasm", None)

    state.component_failed(replace(ONE, image="file:///two.wasm"), "why")

    assert state.components == [ONE]


def test_updates_of_the_unknown_and_the_same() -> None:
    state = _started()

    assert state.update("x", "i", None).answer.message == "component x not found"
    assert state.update("c", ONE.image, None).answer.message == f"component c already updated to {ONE.image}"


def test_what_arrives_during_a_launch_is_looked_at_afterwards() -> None:
    state = HostState("N", {})
    state.scale(ONE)
    assert state.scale(replace(ONE, max_instances=7)).effects == ()

    effects = state.component_ready(ONE)

    assert ReshapeComponent(replace(ONE, max_instances=7)) in effects


def test_a_stop_ends_the_launch_and_what_runs_at_once() -> None:
    state = _started()
    state.update("c", "file:///two.wasm", None)

    outcome = state.scale(replace(ONE, max_instances=0))

    assert outcome.effects[:2] == (AbandonLaunch("c"), HaltComponent("c"))
    [(_, data)] = _events(outcome.effects)
    assert (data["image_ref"], data["max_instances"]) == (ONE.image, 0)
    assert state.components == []
    assert state.component_failed(replace(ONE, image="file:///two.wasm"), "stopped") == ()
    assert not state.runs_component("c")


def test_what_was_launched_faster_than_it_was_stopped_counts_for_nothing() -> None:
    """The halt comes after the launch, and ends it."""
    state = HostState("N", {})
    state.scale(ONE)
    state.scale(replace(ONE, max_instances=0))
    again = replace(ONE, max_instances=9)
    state.scale(again)

    assert state.component_ready(ONE) == (LaunchComponent(again),)
    assert state.components == []


def test_another_image_ends_the_launch_of_the_one_before() -> None:
    state = _started()
    two, three = replace(ONE, image="file:///two.wasm"), replace(ONE, image="file:///three.wasm")
    state.scale(two, allow_update=True)

    outcome = state.scale(three, allow_update=True)

    assert outcome.effects == (AbandonLaunch("c"),)
    assert outcome.answer.message.endswith("file:///one.wasm != file:///three.wasm. The component will be updated.")
    assert state.component_failed(two, "it was ended") == (LaunchComponent(three),)
    assert state.components == [ONE]


def test_a_second_update_waits_for_the_first_and_takes_its_place() -> None:
    state = _started()
    state.update("c", "file:///two.wasm", None)

    assert state.update("c", "file:///two.wasm", None).effects == ()
    assert state.update("c", ONE.image, None).effects == (AbandonLaunch("c"),)
    assert state.component_failed(replace(ONE, image="file:///two.wasm"), "it was ended") != ()
    assert state.components == [ONE]


def test_the_same_request_once_more_does_not_try_again_what_failed() -> None:
    state = HostState("N", {})
    state.scale(ONE)
    state.scale(ONE)

    assert [kind for kind, _ in _events(state.component_failed(ONE, "why"))] == ["component_scale_failed"]
    assert not state.runs_component("c")


def test_a_queued_request_without_permission_leaves_the_image_alone() -> None:
    state = HostState("N", {})
    state.scale(ONE)
    state.scale(replace(ONE, image="file:///two.wasm", max_instances=5))

    state.component_ready(ONE)

    assert state.components == [replace(ONE, max_instances=5)]


def test_a_provider_that_is_being_stopped_starts_again_after_it() -> None:
    state = HostState("N", {})
    state.start_provider(PROVIDER)
    state.stop_provider("p")
    assert state.start_provider(PROVIDER).answer.success
    assert not state.start_provider(PROVIDER).answer.success

    assert LaunchProvider(PROVIDER) in state.provider_failed(PROVIDER, "stopped")


def test_providers_start_once_and_stop() -> None:
    state = HostState("N", {})

    assert state.start_provider(PROVIDER).effects == (LaunchProvider(PROVIDER),)
    assert state.start_provider(PROVIDER).answer.message == "provider with that ID is already running"
    assert state.providers == []
    [(kind, data)] = _events(state.provider_ready(PROVIDER))
    assert (kind, data["image_ref"], data["annotations"]) == ("provider_started", "http-server", {"k": "v"})
    outcome = state.stop_provider("p")
    assert outcome.effects[0] == HaltProvider("p")
    assert _events(outcome.effects)[0][1]["reason"] == "stop"
    assert state.stop_provider("p").answer.message == "provider with that ID is not running"


def test_a_stop_ends_the_start_of_a_provider() -> None:
    state = HostState("N", {})
    state.start_provider(PROVIDER)

    assert state.stop_provider("p").effects == (AbandonLaunch("p"),)
    events = _events(state.provider_failed(PROVIDER, "stopped"))

    assert [kind for kind, _ in events] == ["provider_start_failed", "provider_stopped"]
    assert not state.runs_provider("p")


def test_a_provider_that_was_faster_than_its_stop_is_stopped() -> None:
    state = HostState("N", {})
    state.start_provider(PROVIDER)
    state.stop_provider("p")

    assert HaltProvider("p") in state.provider_ready(PROVIDER)
    assert not state.runs_provider("p")


def test_an_id_is_that_of_a_component_or_of_a_provider() -> None:
    state = _started()
    state.start_provider(PROVIDER)

    assert state.start_provider(replace(PROVIDER, id="c")).answer.success is False
    outcome = state.scale(replace(ONE, id="p"))

    assert outcome.answer.success
    assert [kind for kind, _ in _events(outcome.effects)] == ["component_scale_failed"]
    assert not state.runs_component("p")


def test_what_cannot_be_reshaped_is_reported_as_it_goes_on() -> None:
    state = _started()
    wanted = replace(ONE, config=("missing",))
    state.scale(wanted)

    [(kind, data)] = _events(state.reshape_failed(wanted, ONE, "Config missing does not exist."))

    assert (kind, data["error"]) == ("component_scale_failed", "Config missing does not exist.")
    assert state.components == [ONE]


_IDS = st.sampled_from("ab")
_IMAGES = st.sampled_from(["one", "two", "three"])
_COUNTS = st.integers(0, 3)


class Histories(RuleBasedStateMachine):
    """Commands and results in any order. A model of the shell executes the effects of each workload in turn; a model of
    the commands says what they come to one after the other."""

    launches_fail = False

    def __init__(self) -> None:
        super().__init__()
        self.state = HostState("N", {})
        self.chains: dict[str, list[Effect]] = {}
        self.abandoned: set[str] = set()
        self.running: dict[str, ComponentSpec | ProviderSpec] = {}
        self.wanted: dict[str, tuple[str, int]] = {}
        self.seen = 0

    def _apply(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case AbandonLaunch(id):
                    self.abandoned.add(id)
                case LaunchComponent(spec) | ReshapeComponent(spec) | LaunchProvider(spec):
                    self.chains.setdefault(spec.id, []).append(effect)
                case HaltComponent(id) | HaltProvider(id):
                    self.chains.setdefault(id, []).append(effect)

    @rule(id=_IDS, image=_IMAGES, count=_COUNTS, update=st.booleans(), times=st.integers(1, 2))
    def scale(self, id: str, image: str, count: int, update: bool, times: int) -> None:
        for _ in range(times):
            outcome = self.state.scale(ComponentSpec(id, image, count), allow_update=update)
            assert outcome.answer.success
            self._apply(outcome.effects)
        before = self.wanted.pop(id, None)
        if count:
            self.wanted[id] = (image if before is None or update else before[0], count)

    @rule(id=_IDS, image=_IMAGES)
    def update(self, id: str, image: str) -> None:
        outcome = self.state.update(id, image, None)
        self._apply(outcome.effects)
        if outcome.answer.success:
            self.wanted[id] = (image, self.wanted[id][1])

    @rule()
    def start_provider(self) -> None:
        outcome = self.state.start_provider(PROVIDER)
        self._apply(outcome.effects)
        if outcome.answer.success:
            assert self.launches_fail or "p" not in self.wanted
            self.wanted["p"] = (PROVIDER.image, 1)

    @rule()
    def stop_provider(self) -> None:
        outcome = self.state.stop_provider("p")
        self._apply(outcome.effects)
        assert outcome.answer.success or self.launches_fail or "p" not in self.wanted
        self.wanted.pop("p", None)

    @rule(id=st.sampled_from("abp"), works=st.booleans())
    def the_shell_goes_on(self, id: str, works: bool) -> None:
        chain = self.chains.get(id)
        if not chain:
            return
        effect = chain.pop(0)
        works = works or not (self.launches_fail or id in self.abandoned)
        match effect:
            case LaunchComponent(spec):
                assert spec.max_instances > 0
                self.abandoned.discard(id)
                if works:
                    self.running[id] = spec
                self._apply(self.state.component_ready(spec) if works else self.state.component_failed(spec, "why"))
            case LaunchProvider(provider):
                self.abandoned.discard(id)
                if works:
                    assert id not in self.running, "two providers of one id"
                    self.running[id] = provider
                self._apply(self.state.provider_ready(provider) if works else self.state.provider_failed(provider, "-"))
            case ReshapeComponent(spec):
                assert self.running[id].image == spec.image
                self.running[id] = spec
            case HaltComponent(_) | HaltProvider(_):
                self.running.pop(id, None)

    @invariant()
    def what_is_settled_is_what_runs(self) -> None:
        known = {each.id: each for each in (*self.state.components, *self.state.providers)}
        for id in "abp":
            if not self.chains.get(id):
                assert known.get(id) == self.running.get(id)
                assert self.state.runs_component(id) or self.state.runs_provider(id) or id not in known
                if not self.launches_fail:
                    one = known.get(id)
                    assert (one and (one.image, getattr(one, "max_instances", 1))) == self.wanted.get(id)

    @invariant()
    def the_revision_never_shrinks(self) -> None:
        assert self.state.revision >= self.seen
        self.seen = self.state.revision

    def teardown(self) -> None:
        """Whatever happened: it ends, and nothing is left over."""
        for _ in range(1000):
            if not any(self.chains.values()):
                break
            for id in "abp":
                self.the_shell_goes_on(id, True)
        assert not any(self.chains.values())
        self.what_is_settled_is_what_runs()
        assert self.state.runs_component("a") == ("a" in self.running)


class HistoriesWithFailures(Histories):
    launches_fail = True


for each in (Histories, HistoriesWithFailures):
    each.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
TestHistoriesWithFailures = HistoriesWithFailures.TestCase
