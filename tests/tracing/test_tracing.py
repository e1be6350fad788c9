"""Trace context, sampling, spans in memory, and the facade's promises."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import SpanContext, TraceFlags

from tests.wit.strategies import EXAMPLES
from trellis_lattice.errors import ConfigError, InvocationFailed, PeerMisbehaved
from trellis_lattice.invocation.api import Call
from trellis_lattice.tracing import RecentSpans, SpanKind, SpanRecord, TraceIds, Tracing, trace_fields
from trellis_lattice.tracing.query import span_tree
from trellis_lattice.tracing.sampling import TokenBucket, TraceBudget
from trellis_lattice.tracing.setup import start_tracing
from trellis_lattice.tracing.w3c import format_traceparent, parse_traceparent
from trellis_lattice.wit import FuncType

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def recording(sampler=ALWAYS_ON, budget: TraceBudget | None = None) -> tuple[Tracing, RecentSpans]:
    recent = RecentSpans("NHOST")
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(recent)
    return Tracing(provider.get_tracer("test"), recent=recent, provider=provider, budget=budget), recent


def all_spans(recent: RecentSpans) -> list[SpanRecord]:
    return [span for trace_id in recent.trace_ids() for span in recent.get(trace_id)]


# W3C


@EXAMPLES
@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_span_context_survives_its_header(trace_id, span_id, sampled):
    context = SpanContext(trace_id, span_id, True, TraceFlags(sampled))
    assert parse_traceparent(format_traceparent(context)) == context


def test_tracestate_is_carried():
    context = parse_traceparent(PARENT, "vendor=a,other=b")
    assert context is not None
    assert context.trace_state.to_header() == "vendor=a,other=b"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        PARENT + "-more",
        PARENT.replace("00-", "ff-", 1),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "0" * 10_000,
    ],
)
def test_a_malformed_parent_is_none(text):
    assert parse_traceparent(text) is None


def test_a_later_version_of_the_header_is_understood():
    assert parse_traceparent(PARENT.replace("00-", "01-", 1) + "-more") is not None


def test_http_headers_carry_the_current_span_and_no_other():
    tracing, _ = recording()
    headers = [("host", b"x"), ("traceparent", UNSAMPLED.encode()), ("tracestate", b"old=1")]
    with tracing.span("outer", parent=parse_traceparent(PARENT, "new=2")) as span:
        injected = dict(tracing.inject_http(headers))
    assert injected == {
        "host": b"x",
        "traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01".encode(),
        "tracestate": b"new=2",
    }
    assert tracing.inject_http(headers) == headers
    assert tracing.inject() == (None, None)


# Sampling


def test_the_bucket_refills_with_time_up_to_its_burst():
    bucket = TokenBucket(rate=2.0, burst=3.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5) for _ in range(2)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(99.0)


@EXAMPLES
@given(st.lists(st.floats(0, 0.2), max_size=300), st.integers(1, 100))
def test_never_more_than_the_rate_plus_one_burst(gaps, rate):
    bucket = TokenBucket(float(rate), float(rate))
    now, taken = 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
    assert taken <= rate * (1 + now) + 1e-6


def test_every_trace_within_the_budget_and_a_share_above_it():
    now, chance = 0.0, 0.99
    budget = TraceBudget(lambda: now, lambda: chance, rate=50, overflow=0.01)
    assert [budget.admits() for _ in range(60)] == [True] * 50 + [False] * 10
    chance = 0.009
    assert budget.admits()
    now, chance = 1.0, 0.99
    assert budget.admits()


def test_a_new_trace_above_the_budget_is_not_recorded_and_its_context_flows():
    tracing, recent = recording(budget=TraceBudget(lambda: 0.0, lambda: 0.99, rate=1))
    with tracing.http_server_span("GET", "/first", headers=[]):
        pass
    with tracing.http_server_span("GET", "/second", headers=[]) as root:
        first, _ = tracing.inject()
        with tracing.span("below") as below:
            second, _ = tracing.inject()
            assert below.trace_id == root.trace_id
            assert trace_fields()["trace_id"] == root.trace_id
    assert not root.recording
    assert not below.recording
    assert first == second == format_traceparent(root.context)
    assert parse_traceparent(first) == SpanContext(root.context.trace_id, root.context.span_id, True)
    assert tracing.inject() == (None, None)
    assert [span.attributes["url.path"] for span in all_spans(recent)] == ["/first"]


def test_what_is_below_a_recorded_trace_takes_nothing_from_the_budget():
    tracing, recent = recording(budget=TraceBudget(lambda: 0.0, lambda: 0.99, rate=1))
    with tracing.span("outer"), tracing.span("inner"), tracing.span("innermost"):
        pass
    assert len(recent) == 3


def test_a_trace_from_elsewhere_is_as_its_origin_decided():
    tracing, recent = recording(budget=TraceBudget(lambda: 0.0, lambda: 0.99))
    for number in range(200):
        with tracing.span(f"yes-{number}", parent=parse_traceparent(PARENT)):
            pass
        with tracing.span("no", parent=parse_traceparent(UNSAMPLED)):
            pass
    assert [span.name for span in recent.get(TRACE)] == [f"yes-{number}" for number in range(200)]


# The facade


def test_nested_spans_have_parents_and_end_in_order():
    tracing, recent = recording()
    with tracing.span("outer", SpanKind.SERVER, {"a": 1}) as outer, tracing.span("inner") as inner:
        inner.set("b", 2)
        inner.rename("renamed")
        assert outer.recording
        assert outer.trace_id == inner.trace_id
    first, second = all_spans(recent)
    assert (first.name, first.attributes, second.name, second.kind) == ("renamed", {"b": 2}, "outer", "server")
    assert (first.parent_id, second.parent_id) == (second.span_id, "")
    assert second.start <= first.start <= first.end <= second.end
    assert first.host == "NHOST"


def test_below_an_unrecorded_trace_no_span_is_made_and_the_context_stays():
    tracing, recent = recording()
    with tracing.span("outer", parent=parse_traceparent(UNSAMPLED)):
        before = trace.get_current_span()
        with tracing.span("inner") as inner:
            assert trace.get_current_span() is before
            assert not inner.recording
            assert inner.trace_id == TRACE
            assert tracing.inject() == (UNSAMPLED, None)
            inner.set("ignored", 1)
            inner.fail("ignored")
    assert len(recent) == 0


def test_a_root_that_is_not_sampled_still_gives_a_trace_id():
    tracing, recent = recording(ALWAYS_OFF)
    with tracing.span("root") as root:
        traceparent, _ = tracing.inject()
    assert traceparent is not None
    assert not int(traceparent[-2:], 16) & 1
    assert traceparent.split("-")[1] == root.trace_id
    assert len(recent) == 0


def test_without_a_tracer_foreign_context_still_flows():
    tracing = Tracing()
    with tracing.span("x", parent=parse_traceparent(UNSAMPLED)), tracing.span("y"):
        assert tracing.inject() == (UNSAMPLED, None)
    with tracing.span("x", parent=parse_traceparent(PARENT)), tracing.span("y"):
        assert tracing.inject() == (PARENT, None)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (InvocationFailed("trapped"), "invocation-failed", "trapped"),
        (ValueError("odd"), "ValueError", "odd"),
        (asyncio.CancelledError(), "cancelled", "The caller no longer waited."),
    ],
)
def test_an_error_that_leaves_a_span_is_its_status(error, kind, message):
    tracing, recent = recording()
    with pytest.raises(type(error)), tracing.span("x"):
        raise error
    [span] = all_spans(recent)
    assert (span.status, span.message, span.attributes["error.type"]) == ("error", message, kind)


def test_the_span_of_an_invocation_follows_the_conventions():
    tracing, recent = recording()
    call = Call("kv", "wasi:keyvalue/store@0.2.0-draft", "open", ("x",), FuncType(()), 0.0, "counter", "cache")
    call.attributes["trellis.route"] = "local"
    with tracing.invocation_span(call, SpanKind.CLIENT):
        pass
    [span] = all_spans(recent)
    assert (span.name, span.kind) == ("wasi:keyvalue/store/open", "client")
    assert span.attributes == {
        "rpc.system": "trellis",
        "rpc.service": "wasi:keyvalue/store",
        "rpc.method": "open",
        "trellis.component": "kv",
        "trellis.source": "counter",
        "trellis.link": "cache",
        "trellis.route": "local",
    }


def test_the_span_of_an_http_request_follows_the_conventions():
    tracing, recent = recording()
    with tracing.http_server_span("GET", "/a/b?c=d", headers=[("traceparent", PARENT.encode())], scheme="http") as span:
        span.rename("GET /a/{id}")
        tracing.http_response(span, 503)
    [record] = recent.get(TRACE)
    assert (record.name, record.kind, record.parent_id) == ("GET /a/{id}", "server", "b7ad6b7169203331")
    assert record.attributes == {
        "http.request.method": "GET",
        "url.path": "/a/b",
        "url.query": "c=d",
        "url.scheme": "http",
        "http.response.status_code": 503,
        "error.type": "error",
    }
    assert (record.status, record.message) == ("error", "HTTP 503")


def test_log_records_carry_the_trace():
    tracing, _ = recording()
    record = logging.LogRecord("x", logging.INFO, "", 0, "text", (), None)
    with tracing.span("x") as span:
        assert TraceIds().filter(record)
        assert trace_fields()["trace_id"] == span.trace_id
    assert record.trace_id == span.trace_id
    outside = logging.LogRecord("x", logging.INFO, "", 0, "text", (), None)
    assert TraceIds().filter(outside)
    assert (outside.trace_id, outside.span_id) == ("", "")


# Recent spans


def test_the_oldest_traces_are_forgotten_first():
    recent = RecentSpans(capacity=10)
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(recent)
    tracing = Tracing(provider.get_tracer("test"))
    for _ in range(8):
        with tracing.span("a"), tracing.span("b"):
            pass
    assert len(recent) == 10
    assert len(recent.trace_ids()) == 5
    assert recent.get("no id") == []


def test_one_endless_trace_does_not_grow_without_bound():
    tracing, recent = recording()
    recent._capacity = 10
    for number in range(100):
        with tracing.span(str(number), parent=parse_traceparent(PARENT)):
            pass
        assert len(recent) <= 10
    assert recent.get(TRACE)[-1].name == "99"


def test_records_cross_as_json():
    tracing, recent = recording()
    with tracing.span("x", attributes={"list": ["a", "b"]}):
        pass
    [record] = all_spans(recent)
    assert SpanRecord.from_wire(record.to_wire()) == record
    for wire in (None, {}, {**record.to_wire(), "start": "now"}, {**record.to_wire(), "end": True}):
        with pytest.raises(PeerMisbehaved):
            SpanRecord.from_wire(wire)


def span(name: str, parent: str = "", start: int = 0) -> SpanRecord:
    return SpanRecord(TRACE, name, parent, name, "internal", start, start + 1, "unset", "", "NHOST", {})


def test_a_tree_of_spans_is_built_from_any_order():
    tree = span_tree([span("c", "a", 2), span("d", "b", 3), span("a"), span("b", "a", 1), span("x", "lost", 9)])
    shape = [(depth, each.name) for root in tree for depth, each in root.walk()]
    assert shape == [(0, "a"), (1, "b"), (2, "d"), (1, "c"), (0, "x")]
    assert [root.missing_parent for root in tree] == [False, True]


# From the environment


async def test_nothing_is_exported_unless_an_endpoint_is_configured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    tracing = start_tracing("NHOST", environ={}, clock=lambda: 0.0)
    assert tracing.recent is not None
    with tracing.span("x"):
        pass
    assert len(tracing.recent) == 1
    await tracing.aclose()


async def test_resource_and_sampler_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    tracing = start_tracing("NHOST", environ={"OTEL_TRACES_SAMPLER": "always_off", "OTEL_SERVICE_NAME": "mine"})
    attributes = tracing._provider.resource.attributes
    assert (attributes["service.name"], attributes["trellis.host.id"]) == ("mine", "NHOST")
    with tracing.span("x") as span:
        assert not span.recording
    await tracing.aclose()


def test_an_otlp_protocol_that_is_not_there_is_a_config_error():
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(ConfigError) as caught:
        start_tracing("NHOST", environ=environ)
    assert caught.value.fields["key"] == "OTEL_EXPORTER_OTLP_PROTOCOL"
