"""What is remembered of versions and deployments, and which one a rollback means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice.errors import NotFound
from trellis_wadm.history import MAX_DEPLOYMENTS, Act, Deployment, History, chosen_version

acts = st.builds(Act, st.integers(0, 2**32).map(float), st.text(max_size=20))
versions = st.sampled_from(["v1", "v2", "v3"])
histories = st.builds(
    History,
    st.dictionaries(versions, acts),
    st.lists(st.builds(Deployment, st.none() | versions, acts), max_size=5).map(tuple),
)


@given(histories)
def test_a_record_comes_back_as_it_was_written(history: History) -> None:
    assert History.decode(history.encode()) == history


@given(st.binary(max_size=60))
def test_any_record_can_be_read(payload: bytes) -> None:
    assert isinstance(History.decode(payload), History)


def test_what_cannot_be_read_of_a_record_is_left_out() -> None:
    record = b'{"puts": {"v1": {"at": 1}, "v2": {"at": "x"}, "v3": 7, "v4": {"at": true}, "v5": {"at": -1}},'
    record += b'"deployments": [{"version": "v1", "at": 2, "by": "ada"}, {"version": 3, "at": 2}, 4, {}]}'

    assert History.decode(record) == History({"v1": Act(1.0)}, (Deployment("v1", Act(2.0, "ada")),))
    assert History.decode(b"[" * 100_000) == History()


def test_only_so_many_deployments_are_kept() -> None:
    history = History()
    for i in range(MAX_DEPLOYMENTS + 50):
        history = history.with_deployed(f"v{i}", Act(float(i)))

    assert len(history.deployments) == MAX_DEPLOYMENTS
    assert history.deployments[-1].version == f"v{MAX_DEPLOYMENTS + 49}"


@pytest.mark.parametrize(
    ("to", "deployed", "deployments", "chosen"),
    [
        (None, "v2", ["v1", "v2"], "v1"),
        (None, "v1", ["v1", "v2", "v1"], "v2"),
        (None, "v2", ["v1", "v2", None, "v2"], "v1"),
        (None, None, ["v1", "v2", None], "v2"),
        (None, "v2", ["v1", "gone", "v2"], "v1"),
        ("v3", "v1", [], "v3"),
        ("3", "v1", [], "v3"),
        ("#1", "v1", [], "v1"),
        ("2", "v1", [], "v2"),
    ],
)
def test_a_rollback_goes_to(to: str | None, deployed: str | None, deployments: list[str | None], chosen: str) -> None:
    assert chosen_version(to, ["v1", "v2", "v3"], deployed, deployments) == chosen


def test_a_version_that_is_called_like_a_number_is_meant_by_its_name() -> None:
    assert chosen_version("2", ["2", "1"], None, []) == "2"
    assert chosen_version("#2", ["2", "1"], None, []) == "1"


@pytest.mark.parametrize(("to", "said"), [(None, "not known"), ("v9", "v9"), ("0", "0"), ("4", "4"), ("-1", "-1")])
def test_a_rollback_to_nowhere_says_what_there_is(to: str | None, said: str) -> None:
    with pytest.raises(NotFound) as refused:
        chosen_version(to, ["v1", "v2", "v3"], "v1", ["v1"])

    assert said in refused.value.message
    assert refused.value.remedy is not None
