"""When a host is cut off from its lattice, and what it says of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trellis_lattice.bus.membership import Beat, Change, ChangeKind
from trellis_lattice.bus.reach import Reach, Why


def change(kind: ChangeKind, host: str = "NB") -> Change:
    return Change(kind, host, Beat(host, 1, 1))


GONE, JOINED, LEFT = (change(kind) for kind in (ChangeKind.GONE, ChangeKind.JOINED, ChangeKind.LEFT))


def test_a_lost_connection_is_a_cut_until_it_is_back() -> None:
    reach = Reach()
    assert reach.told(0.0) is None
    cut = reach.connection(False, 10.0)
    assert cut is not None
    assert (cut.why, cut.since, cut.until) == (Why.CONNECTION, 10.0, None)
    assert reach.connection(False, 11.0) is None
    assert reach.told(12.5) == "Cut off from its lattice for 2.5 s now: the connection to NATS was lost."
    cut = reach.connection(True, 14.0)
    assert cut is not None
    assert cut.until == 14.0
    assert reach.cut is None
    assert reach.connection(True, 15.0) is None
    told = "Was cut off from its lattice for 4.0 s, until 6 s ago: the connection to NATS was lost."
    assert reach.told(20.0) == told
    assert reach.told(700.0) is None


def test_several_that_fall_silent_together_are_the_networks_fault() -> None:
    reach = Reach()
    assert reach.member(GONE, ["NC"], 10.0) is None
    cut = reach.member(GONE, [], 11.0)
    assert cut is not None
    assert cut.why is Why.SILENCE
    back = reach.member(JOINED, ["NB"], 20.0)
    assert back is not None
    assert back.until == 20.0


def test_one_that_dies_and_several_that_leave_are_not() -> None:
    reach = Reach()
    assert reach.member(GONE, [], 10.0) is None
    assert reach.member(JOINED, ["NB"], 12.0) is None
    assert reach.member(LEFT, ["NC"], 13.0) is None
    assert reach.member(LEFT, [], 14.0) is None
    assert reach.member(GONE, [], 60.0) is None
    assert reach.told(60.0) is None


def test_a_connection_that_is_lost_too_makes_one_longer_cut() -> None:
    reach = Reach()
    reach.member(GONE, ["NC"], 10.0)
    reach.member(GONE, [], 11.0)
    cut = reach.connection(False, 13.0)
    assert cut is not None
    assert (cut.why, cut.since) == (Why.CONNECTION, 11.0)
    assert reach.member(JOINED, ["NB"], 14.0) is None
    back = reach.connection(True, 15.0)
    assert back is not None
    assert (back.since, back.until) == (11.0, 15.0)


EVENTS = st.tuples(st.sampled_from([*ChangeKind, True, False]), st.booleans(), st.floats(0, 10))


@given(st.lists(EVENTS, max_size=40))
def test_cuts_begin_and_end_in_turn(events: list[tuple[ChangeKind | bool, bool, float]]) -> None:
    reach, now = Reach(), 0.0
    for what, others, pause in events:
        now += pause
        before = reach.cut
        if isinstance(what, bool):
            told = reach.connection(what, now)
        else:
            told = reach.member(change(what), ["NC"] if others else [], now)
        if told is None:
            assert reach.cut == before
        elif told.until is None:
            assert reach.cut == told
            assert before is None or told.since == before.since
        else:
            assert before is not None
            assert reach.cut is None
