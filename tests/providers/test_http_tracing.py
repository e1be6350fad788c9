"""The server span of a request, and what a failing one leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from trellis_lattice.errors import InvocationFailed
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.tracing import RecentSpans, SpanRecord, TraceIds, Tracing

from .conftest import Server, text

CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


def traced(sampler: Sampler) -> tuple[Server, RecentSpans]:
    recent = RecentSpans()
    provider = TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False)
    provider.add_span_processor(recent)
    return Server(tracing=Tracing(provider.get_tracer("test"), recent=recent)), recent


@pytest.fixture
async def recording() -> AsyncIterator[tuple[Server, RecentSpans]]:
    server, recent = traced(ALWAYS_ON)
    yield server, recent
    await server.aclose()


def spans(recent: RecentSpans) -> list[SpanRecord]:
    return [span for id in recent.trace_ids() for span in recent.get(id)]


async def test_a_request_continues_its_callers_trace(recording: tuple[Server, RecentSpans]) -> None:
    server, recent = recording
    inside: list[int] = []

    async def component(request: HttpRequest) -> HttpResponse:
        inside.append(trace.get_current_span().get_span_context().span_id)
        return text(status=404)

    await server.serve(component)
    client = await server.connect()
    answer = await client.request("GET", "/shop?item=1", {"traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"})
    (span,) = spans(recent)
    assert answer.header("traceresponse") == f"00-{CALLER}-{span.span_id}-01".encode()
    assert (span.trace_id, span.parent_id, span.kind, span.status) == (CALLER, "00f067aa0ba902b7", "server", "unset")
    assert span.name == "GET"
    assert span.attributes["url.path"] == "/shop"
    assert span.attributes["url.query"] == "item=1"
    assert span.attributes["http.response.status_code"] == 404
    assert [f"{id:016x}" for id in inside] == [span.span_id]


async def test_a_routed_path_names_the_span(recording: tuple[Server, RecentSpans]) -> None:
    server, recent = recording

    async def component(request: HttpRequest) -> HttpResponse:
        return text()

    await server.serve(component, path="/api/*")
    await (await server.connect()).request("GET", "/api/7")
    (span,) = spans(recent)
    assert (span.name, span.attributes["http.route"]) == ("GET /api/*", "/api/*")


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["recorded", "not recorded"])
async def test_a_failure_can_be_found_by_the_id_the_client_got(
    sampler: Sampler, caplog: pytest.LogCaptureFixture
) -> None:
    server, recent = traced(sampler)
    ids = TraceIds()
    caplog.handler.addFilter(ids)

    async def component(request: HttpRequest) -> HttpResponse:
        raise InvocationFailed("The component trapped: unreachable.")

    await server.serve(component)
    answer = await (await server.connect()).request()
    trace_id = (answer.header("x-trace-id") or b"").decode()
    assert (answer.status, len(trace_id)) == (500, 32)
    assert trace_id in answer.body.decode()
    (record,) = [record for record in caplog.records if record.name == "trellis.http-server"]
    assert "The component trapped: unreachable." in record.getMessage()
    assert vars(record)["trace_id"] == trace_id
    if sampler is ALWAYS_ON:
        (span,) = spans(recent)
        assert (span.trace_id, span.status) == (trace_id, "error")
        assert span.attributes["error.type"] == "invocation-failed"
        assert answer.header("traceresponse") == f"00-{trace_id}-{span.span_id}-01".encode()
    else:
        assert answer.header("traceresponse") is None
    await server.aclose()
