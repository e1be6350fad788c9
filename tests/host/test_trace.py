"""One request is one trace: the whole tree, local and across two hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.fixtures import components
from tests.host.support import PATIENCE, NotingListeners, Operator, image, running_host
from trellis_host.host import Host
from trellis_lattice.tracing import TraceIds
from trellis_lattice.tracing.query import TraceNode, gather_trace, span_tree
from trellis_lattice.tracing.recent import SpanRecord

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


async def _deploy(operator: Operator, tmp_path: Path, front: Host, back: Host) -> None:
    """An HTTP listener and a counting component on `front`, the key-value store on `back`."""
    await operator.put_config("listen", address="127.0.0.1:0")
    await operator.put_link("counter", "store", "wasi:keyvalue", "store", "atomics")
    await operator.put_link("http", "counter", "wasi:http", "incoming-handler", source_config=("listen",))
    await operator.start_provider(back, "store", "keyvalue-nats")
    await operator.start_component(front, "counter", image(tmp_path, "counter", components.kv_counter_c()))
    await operator.start_provider(front, "http", "http-server")


async def _traced(operator: Operator, port: int, spans: int) -> list[SpanRecord]:
    """The spans of one request, once as many as expected have ended."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"http://127.0.0.1:{port}/key?x=1", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}
        )
    assert answer.status_code == 200
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await gather_trace(operator.connection, operator.lattice, TRACE, timeout=0.5)
            if len(found) >= spans:
                return found


def _shape(node: TraceNode) -> tuple[str, str, list[object]]:
    return node.span.name, node.span.kind, [_shape(child) for child in node.children]


def _check(spans: Sequence[SpanRecord]) -> TraceNode:
    [root] = span_tree(spans)
    assert root.span.parent_id == PARENT
    for node in _all(root):
        assert node.span.trace_id == TRACE
        for child in node.children:
            assert node.span.start <= child.span.start <= child.span.end <= node.span.end, "a child outlasts its parent"
    return root


def _all(node: TraceNode) -> list[TraceNode]:
    return [node, *(each for child in node.children for each in _all(child))]


HTTP = "wasi:http/incoming-handler/handle"


async def test_on_one_host(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    listeners = NotingListeners()
    async with running_host(nats_server, lattice, tmp_path, listeners=listeners) as one:
        await _deploy(operator, tmp_path, one, one)
        root = _check(await _traced(operator, listeners.ports[0], 5))

    name, kind, [(invocation, invocation_kind, calls)] = _shape(root)
    assert (name, kind) == ("GET", "server")
    assert (invocation, invocation_kind) == (HTTP, "internal")
    assert [call[0] for call in calls] == ["wasi:keyvalue/store/open", "wasi:keyvalue/atomics/increment"]
    increment = calls[1]
    assert increment[1] == "internal"
    assert [child[1] for child in increment[2]] == ["client"]
    assert root.span.attributes["http.response.status_code"] == 200


async def test_across_two_hosts(nats_server: str, lattice: str, operator: Operator, tmp_path: Path) -> None:
    listeners = NotingListeners()
    async with (
        running_host(nats_server, lattice, tmp_path, name="front", listeners=listeners) as front,
        running_host(nats_server, lattice, tmp_path, name="back") as back,
    ):
        await _deploy(operator, tmp_path, front, back)
        root = _check(await _traced(operator, listeners.ports[0], 7))

    _, _, [(_, _, calls)] = _shape(root)
    for call, function in zip(calls, ("store/open", "atomics/increment"), strict=True):
        assert call[:2] == (f"wasi:keyvalue/{function}", "client")
        assert [child[:2] for child in call[2]] == [(f"wasi:keyvalue/{function}", "server")]
    hosts = {node.span.host for node in _all(root)}
    assert hosts == {front.state.host_id, back.state.host_id}


async def test_a_failing_request_is_logged_with_its_trace(
    nats_server: str, lattice: str, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(TraceIds())  # as a host's process does
    listeners = NotingListeners()
    async with running_host(nats_server, lattice, tmp_path, listeners=listeners) as one:
        await operator.put_config("listen", address="127.0.0.1:0")
        await operator.put_link("http", "nobody", "wasi:http", "incoming-handler", source_config=("listen",))
        await operator.start_provider(one, "http", "http-server")
        async with httpx.AsyncClient() as client:
            answer = await client.get(
                f"http://127.0.0.1:{listeners.ports[0]}/", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"}
            )

    assert answer.status_code == 503
    assert any(getattr(record, "trace_id", "") == TRACE for record in caplog.records)
