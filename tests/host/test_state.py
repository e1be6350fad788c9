"""The host's state machine: examples of v1's semantics, then laws on random histories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

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
    state.scale(replace(ONE, max_instances=7))
    state.scale(replace(ONE, max_instances=0))

    effects = state.component_ready(ONE)

    assert HaltComponent("c") in effects
    assert not state.runs_component("c")


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


_IMAGES = st.sampled_from(["one", "two"])
_COUNTS = st.integers(0, 3)


class Histories(RuleBasedStateMachine):
    """Requests and results in any order; a model of the shell executes the effects."""

    launching = Bundle("launching")

    def __init__(self) -> None:
        super().__init__()
        self.state = HostState("N", {})
        self.open: list[ComponentSpec] = []
        self.running: dict[str, ComponentSpec] = {}
        self.seen = 0

    def _execute(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case LaunchComponent(spec):
                    assert spec.max_instances > 0
                    assert all(each.id != spec.id for each in self.open), "two launches of one id"
                    self.open.append(spec)
                case ReshapeComponent(spec):
                    assert self.running[spec.id].image == spec.image
                    self.running[spec.id] = spec
                case HaltComponent(id):
                    del self.running[id]

    @rule(id=st.sampled_from("ab"), image=_IMAGES, count=_COUNTS, update=st.booleans())
    def scale(self, id: str, image: str, count: int, update: bool) -> None:
        self._execute(self.state.scale(ComponentSpec(id, image, count), allow_update=update).effects)

    @rule(id=st.sampled_from("ab"), image=_IMAGES)
    def update(self, id: str, image: str) -> None:
        self._execute(self.state.update(id, image, None).effects)

    @rule(works=st.booleans())
    def a_launch_ends(self, works: bool) -> None:
        if not self.open:
            return
        spec = self.open.pop(0)
        if works:
            self.running[spec.id] = spec
            self._execute(self.state.component_ready(spec))
        else:
            self._execute(self.state.component_failed(spec, "why"))

    @invariant()
    def the_state_is_what_runs(self) -> None:
        assert {each.id: each for each in self.state.components} == self.running

    @invariant()
    def the_revision_never_shrinks(self) -> None:
        assert self.state.revision >= self.seen
        self.seen = self.state.revision


TestHistories = Histories.TestCase
