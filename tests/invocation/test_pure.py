"""Subjects, headers, frames, the retry rule and the table of resources: no bus needed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wit.strategies import EXAMPLES
from trellis_lattice.errors import (
    DeadlineExceeded,
    InvocationFailed,
    NotFound,
    Overloaded,
    PeerMisbehaved,
    RequestInvalid,
    TrellisError,
    Unavailable,
)
from trellis_lattice.invocation import frames, subjects
from trellis_lattice.invocation.api import Handle
from trellis_lattice.invocation.frames import WINDOW, CreditCounter, Kind, SequenceChecker, StreamRef
from trellis_lattice.invocation.headers import (
    DROP_HEADERS,
    HEAD,
    MAX_DEADLINE_MS,
    REPLY_ERROR,
    REPLY_OK,
    REPLY_OK_PARTS,
    Address,
    Reply,
    accepted_headers,
    is_drop,
    is_no_responders,
    parse_reply,
    parse_request,
    request_headers,
)
from trellis_lattice.invocation.resources import ResourceTable
from trellis_lattice.invocation.retry import RetryPolicy, certainly_not_started, delay_before_retry
from trellis_lattice.wit import ResourceId

# Subjects


def test_subjects():
    assert subjects.rpc("default", "http-server") == "trellis.v1.default.rpc.http-server"
    assert subjects.cancel("default", "echo") == "trellis.v1.default.cancel.echo"
    assert subjects.instance("default", "ab12.7") == "trellis.v1.default.instance.ab12.7"
    assert subjects.instances("default", "ab12") == "trellis.v1.default.instance.ab12.*"
    assert subjects.trace_get("default") == "trellis.v1.default.trace.get"
    assert subjects.parse_instance(subjects.instance("default", "ab12.7")) == "ab12.7"


@pytest.mark.parametrize("foreign", ["", "a.b", "trellis.v1.default.rpc.x.y", "trellis.v1.default.instance.x"])
def test_foreign_subjects_are_no_instance(foreign):
    assert subjects.parse_instance(foreign) is None


@pytest.mark.parametrize("name", ["a.b", "a b", "*", ">", "", "x" * 300])
def test_names_that_would_change_a_subject_are_refused(name):
    with pytest.raises(RequestInvalid):
        subjects.rpc("default", name)
    with pytest.raises(RequestInvalid):
        subjects.rpc(name, "echo")
    with pytest.raises(RequestInvalid):
        subjects.instance("default", f"{name}.1" if name != "a.b" else "a.b.c")


# Headers

TEXTS = st.text(max_size=20).filter(lambda text: text != "-" and "\ud800" not in text)


@EXAMPLES
@given(TEXTS, TEXTS, TEXTS, TEXTS.filter(bool), st.integers(0, MAX_DEADLINE_MS), st.booleans())
def test_requests_parse_to_what_was_built(source, link, interface, function, remaining, parts):
    address = Address(source, link, interface, function, parts)
    headers = request_headers(address, remaining, "00-a-b-01", None)
    assert all(value.isprintable() and value.isascii() for value in headers.values())
    head = parse_request(headers)
    assert (head.address, head.remaining_ms, head.traceparent, head.tracestate) == (
        address,
        remaining,
        "00-a-b-01",
        None,
    )


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {HEAD: ""},
        {HEAD: "2 call 1 a b c d"},
        {HEAD: "1 call x a b c d"},
        {HEAD: "1 call -1 a b c d"},
        {HEAD: "1 call 1 a b c"},
        {HEAD: "1 call 1 a b c d e"},
        {HEAD: "1 call 1 a b  d"},
        {HEAD: f"1 call 1 a b c {'d' * 600}"},
        {HEAD: "1 ok"},
    ],
)
def test_malformed_requests_are_the_callers_fault(headers):
    with pytest.raises(RequestInvalid):
        parse_request(headers)


def test_a_deadline_has_a_ceiling():
    assert parse_request({HEAD: "1 call 999999999999 a b c d"}).remaining_ms == MAX_DEADLINE_MS


def test_replies():
    assert parse_reply(REPLY_OK) == (Reply.OK, "")
    assert parse_reply(REPLY_OK_PARTS) == (Reply.OK_PARTS, "")
    assert parse_reply(REPLY_ERROR) == (Reply.ERROR, "")
    assert parse_reply(accepted_headers("NHOST")) == (Reply.ACCEPTED, "NHOST")
    assert is_drop(DROP_HEADERS)
    assert not is_drop(REPLY_OK)
    assert not is_drop(None)
    assert is_no_responders({"Status": "503"}, b"")
    assert not is_no_responders({"Status": "503"}, b"x")


@pytest.mark.parametrize("headers", [None, {}, {HEAD: "1 maybe"}, {HEAD: "2 ok"}, {HEAD: "ok"}])
def test_malformed_replies_are_the_peers_fault(headers):
    with pytest.raises(PeerMisbehaved):
        parse_reply(headers)


# Frames


@EXAMPLES
@given(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=50))
def test_frames_parse_to_what_was_built(number, chunk):
    frame = frames.parse(frames.data(number, chunk))
    assert (frame.kind, frame.number, frame.rest) == (Kind.DATA, number, chunk)
    assert frames.parse(frames.credit(number)).number == number
    assert frames.parse(frames.end(number)).trailers() is None
    assert frames.parse(frames.end(number, [("grpc-status", b"0")])).trailers() == [("grpc-status", b"0")]
    assert frames.parse(frames.cancel()).kind is Kind.CANCEL
    failure = frames.parse(frames.error(number, NotFound("gone", name="x"))).failure()
    assert isinstance(failure, NotFound)
    assert failure.fields == {"name": "x"}


@EXAMPLES
@given(st.binary(max_size=40))
def test_any_bytes_are_a_frame_or_misbehaviour(data):
    try:
        frame = frames.parse(data)
    except PeerMisbehaved:
        return
    with contextlib.suppress(PeerMisbehaved):
        frame.trailers()
    with contextlib.suppress(PeerMisbehaved):
        frame.failure()


def test_a_lost_frame_is_noticed():
    order = SequenceChecker()
    order.accept(frames.parse(frames.data(0, b"a")))
    with pytest.raises(Unavailable) as caught:
        order.accept(frames.parse(frames.data(2, b"c")))
    assert caught.value.maybe_executed


def test_credit_is_granted_by_the_half_window_and_not_to_be_exceeded():
    credit = CreditCounter()
    credit.received(WINDOW)
    assert credit.consumed(WINDOW // 2 - 1) == 0
    assert credit.consumed(1) == WINDOW // 2
    credit.received(WINDOW // 2)
    with pytest.raises(PeerMisbehaved):
        credit.received(1)


@pytest.mark.parametrize(
    "ref",
    [
        StreamRef(b"all"),
        StreamRef(b"all", trailers=[("a", b"1")]),
        StreamRef(b"", more="_INBOX.x.1", host="NHOST"),
        StreamRef(b"head", more="_INBOX.x.1", size=100),
    ],
)
def test_stream_references_parse_to_what_was_built(ref):
    assert StreamRef.from_wire(ref.to_wire()) == ref


@pytest.mark.parametrize(
    "wire",
    [
        "text",
        {},
        {"head": "text"},
        {"head": b"", "more": 5},
        {"head": b"", "more": "a b"},
        {"head": b"", "more": "_INBOX.>"},
        {"head": b"", "more": "wasmbus.ctl.v1.default.host.stop"},
        {"head": b"", "size": -1},
        {"head": b"", "else": 1},
    ],
)
def test_wrong_stream_references_are_refused(wire):
    with pytest.raises(ValueError):
        StreamRef.from_wire(wire)


# Retry

POLICY = RetryPolicy(attempts=3, first=0.1, factor=2.0, ceiling=0.15)


def _delay(error: TrellisError, **changes):
    arguments = {
        "attempt": 1,
        "idempotent": False,
        "on_instance": False,
        "remaining": 10.0,
        "jitter": 0.0,
        "policy": POLICY,
        **changes,
    }
    return delay_before_retry(error, **arguments)


@pytest.mark.parametrize(
    ("error", "again", "again_if_idempotent"),
    [
        (Unavailable("nobody"), True, True),
        (Overloaded("full"), True, True),
        (Unavailable("lost", maybe_executed=True), False, True),
        (Overloaded("further on", maybe_executed=True), False, False),
        (DeadlineExceeded("late"), False, False),
        (InvocationFailed("trap"), False, False),
        (NotFound("no such function"), False, False),
        (RequestInvalid("wrong"), False, False),
        (PeerMisbehaved("nonsense"), False, False),
    ],
)
def test_what_is_sent_again(error, again, again_if_idempotent):
    assert (_delay(error) is not None) is again
    assert (_delay(error, idempotent=True) is not None) is again_if_idempotent
    assert certainly_not_started(error) is again


def test_waits_grow_to_a_ceiling_and_are_jittered_downwards():
    error = Unavailable("nobody")
    assert _delay(error) == pytest.approx(0.1)
    assert _delay(error, attempt=2) == pytest.approx(0.15)
    assert _delay(error, jitter=0.999) == pytest.approx(0.1 * (1 - 0.999 / 2))


def test_attempts_and_deadline_bound_it():
    error = Unavailable("nobody")
    assert _delay(error, attempt=3) is None
    assert _delay(error, remaining=0.1) is None
    assert _delay(error, remaining=-1.0, idempotent=True) is None


ABSENT = Unavailable("nobody", reason="no-answerer")


def test_calls_of_a_target_that_moves_wait_for_it_but_not_for_ever():
    policy = RetryPolicy(attempts=2, first=0.1, factor=2.0, ceiling=0.15, patience=3.0)
    assert _delay(ABSENT, attempt=2, policy=policy) is None
    assert _delay(ABSENT, attempt=9, known=True, waited=2.9, policy=policy) == pytest.approx(0.15)
    assert _delay(ABSENT, attempt=9, known=True, waited=3.0, policy=policy) is None
    assert _delay(ABSENT, attempt=9, known=True, waited=1.0, remaining=0.1, policy=policy) is None
    assert _delay(ABSENT, attempt=1, known=True, waited=1.0, on_instance=True, policy=policy) is None
    assert _delay(Unavailable("leaving"), attempt=9, known=True, policy=policy) is None
    assert _delay(Unavailable("lost", maybe_executed=True), known=True, policy=policy) is None


@given(attempt=st.integers(1, 10_000), crowd=st.integers(0, 100_000), jitter=st.floats(0, 1, exclude_max=True))
def test_many_that_wait_ask_no_more_often_than_few(attempt, crowd, jitter):
    delay = _delay(ABSENT, attempt=attempt, known=True, waited=1.0, crowd=crowd, jitter=jitter, policy=RetryPolicy())
    assert delay is not None
    assert min(1.0, crowd * 0.001) / 2 <= delay <= 1.0


def test_a_resource_whose_owner_is_gone_is_not_asked_again():
    assert _delay(Unavailable("nobody"), on_instance=True, idempotent=True) is None
    assert _delay(Overloaded("full"), on_instance=True) is not None


# Resources

COUNTER = ResourceId("a:b/c", "counter")


class _Service:
    def function_type(self, interface, function):
        raise AssertionError

    async def serve(self, call):
        raise AssertionError


def _table(limit: int = 10):
    released: list[object] = []
    return ResourceTable("srv", released.append, limit), released


def test_a_held_resource_is_found_by_its_handle_until_it_is_dropped():
    table, released = _table()
    instance = table.open("counter", _Service(), expires=5.0)
    one, two = table.hold(instance, "one", COUNTER), table.hold(instance, "two", COUNTER)
    assert one.owner == two.owner == "srv.1"
    assert one.type == "a:b/c.counter"
    assert table.value(one, owned=False) == "one"
    table.drop(one.owner, [one.id, "unknown"])
    assert released == ["one"]
    with pytest.raises(Unavailable):
        table.value(one, owned=False)
    assert table.find(two.owner) is instance
    table.drop(two.owner, [two.id])
    assert (released, len(table)) == (["one", "two"], 0)
    with pytest.raises(Unavailable):
        table.find(two.owner)


def test_an_owned_resource_moves_to_the_callee():
    table, released = _table()
    handle = table.hold(table.open("counter", _Service(), 5.0), "one", COUNTER)
    assert table.value(handle, owned=True) == "one"
    assert (released, len(table)) == ([], 0)
    with pytest.raises(Unavailable):
        table.value(handle, owned=True)


def test_handles_of_others_and_names_pass_as_they_are():
    table, _ = _table()
    for handle in (Handle("", "visits", "wasi:keyvalue/store.bucket"), Handle("other.1", "1", "a:b/c.counter")):
        assert table.value(handle, owned=True) is handle


def test_a_handle_of_another_type_is_no_key():
    table, _ = _table()
    handle = table.hold(table.open("counter", _Service(), 5.0), "one", COUNTER)
    with pytest.raises(Unavailable):
        table.value(Handle(handle.owner, handle.id, "a:b/c.other"), owned=False)


def test_all_resources_of_an_instance_die_at_its_deadline():
    table, released = _table()
    early = table.open("counter", _Service(), 5.0)
    late = table.open("counter", _Service(), 9.0)
    table.hold(early, "a", COUNTER)
    table.hold(early, "b", COUNTER)
    kept = table.hold(late, "c", COUNTER)
    table.expire(5.0)
    assert (released, len(table)) == (["a", "b"], 1)
    assert table.value(kept, owned=False) == "c"
    table.close_target("counter")
    assert (released, len(table)) == (["a", "b", "c"], 0)


def test_too_many_resources_are_refused():
    table, _ = _table(limit=1)
    instance = table.open("counter", _Service(), 5.0)
    table.hold(instance, "a", COUNTER)
    with pytest.raises(RequestInvalid) as caught:
        table.hold(instance, "b", COUNTER)
    assert caught.value.fields["limit"] == 1
