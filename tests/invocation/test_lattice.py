"""What only happens between hosts: refusals and retries, death, draining, resources, hostile peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import cbor2
import pytest
import pytest_asyncio

from tests.invocation.conformance import Rig, Scripted
from trellis_lattice import http
from trellis_lattice.bus.beats import BeatPublisher, HostStatus
from trellis_lattice.bus.connection import Connection, ConnectionSettings, Message
from trellis_lattice.bus.embedded import EmbeddedNats, NatsServerSettings
from trellis_lattice.errors import (
    DeadlineExceeded,
    InvocationFailed,
    Overloaded,
    PeerMisbehaved,
    RequestInvalid,
    TrellisError,
    Unavailable,
)
from trellis_lattice.http import HttpRequest, HttpResponse
from trellis_lattice.invocation import frames, subjects
from trellis_lattice.invocation.api import Call, Handle
from trellis_lattice.invocation.client import LatticeInvoker
from trellis_lattice.invocation.headers import HEAD, REPLY_OK
from trellis_lattice.invocation.retry import RetryPolicy
from trellis_lattice.invocation.server import LatticeServer
from trellis_lattice.invocation.standalone import open_invoker
from trellis_lattice.streams import BytesBody, Pipe
from trellis_lattice.tracing import Tracing
from trellis_lattice.tracing.w3c import parse_traceparent
from trellis_lattice.wit import Borrow, FuncType, ListType, Own, Primitive, ResourceId

STRING = Primitive.STRING
ECHO = FuncType((("text", STRING),), STRING)
NOTHING = FuncType(())
UNRECORDED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
QUICK = RetryPolicy(attempts=3, first=0.001, ceiling=0.002)


async def echo(call: Call) -> Any:
    return call.args[0]


class Lattice:
    """Hosts and callers on one lattice, ended together. `eager`: nothing needs a task that does not wait."""

    def __init__(self, url: str, name: str, eager: bool) -> None:
        self.url = url
        self.name = name
        self.eager = eager
        self._closing: list[Any] = []

    async def connect(self) -> Connection:
        connection = await Connection.connect(ConnectionSettings(urls=(self.url,)), timeout=5)
        self._closing.append(connection)
        return connection

    async def host(self, name: str, **options: Any) -> LatticeServer:
        server = await LatticeServer.start(await self.connect(), self.name, name, **options)
        self._closing.append(server)
        return server

    async def invoker(self, **options: Any) -> LatticeInvoker:
        invoker = (EagerInvoker if self.eager else LatticeInvoker)(
            await self.connect(), self.name, jitter=lambda: 0.0, **options
        )
        self._closing.append(invoker)
        return invoker

    async def rig(self, functions: Any, *, retry: RetryPolicy = QUICK, **options: Any) -> tuple[Rig, LatticeServer]:
        service = self.service(functions)
        server = await self.host("NHOST")
        await self.serve(server, service, **options)
        return Rig(await self.invoker(retry=retry), service), server

    def service(self, functions: Any) -> Scripted:
        return EagerService(functions) if self.eager else Scripted(functions)

    async def serve(self, server: LatticeServer, service: Scripted, **options: Any) -> Any:
        serving = await server.serve("target", service, **options)
        await server.connection.flush(deadline=soon())
        return serving

    async def aclose(self) -> None:
        for each in reversed(self._closing):
            await each.aclose()


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


@pytest_asyncio.fixture(params=(False, True), ids=("tasks", "eager"))
async def net(nats_server: str, lattice: str, request: pytest.FixtureRequest) -> AsyncIterator[Lattice]:
    net = Lattice(nats_server, lattice, request.param)
    yield net
    await net.aclose()


class EagerInvoker(LatticeInvoker):
    """Makes all calls in a trace that is not recorded, by `begin`."""

    async def invoke(self, call: Call) -> Any:
        tracing = Tracing()
        if tracing.unrecorded():
            return await super().invoke(call)
        with tracing.span("test", parent=parse_traceparent(UNRECORDED)):
            return await self.begin(call)


class EagerService(Scripted):
    """Executes a call up to where it waits before `begin` returns."""

    def begin(self, call: Call) -> Any:
        work = self.serve(call)
        try:
            return Stepped(work, work.send(None))
        except StopIteration as end:
            return end.value


class Stepped:
    """A coroutine that has made its first step, which waits for `waited`."""

    def __init__(self, work: Coroutine[Any, Any, Any], waited: Any) -> None:
        self.work = work
        self.waited = waited

    def __await__(self) -> Generator[Any, Any, Any]:
        waited = self.waited
        try:
            while True:
                try:
                    sent = yield waited
                except BaseException as error:
                    waited = self.work.throw(error)
                else:
                    waited = self.work.send(sent)
        except StopIteration as end:
            return end.value

    def close(self) -> None:
        self.work.close()


class Gate:
    """A handler that says when it runs, and returns when it is let through."""

    def __init__(self) -> None:
        self.running = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.running += 1
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


# What a call costs


async def test_a_short_call_is_one_message_there_and_one_back(net: Lattice) -> None:
    rig, server = await net.rig({"echo": (ECHO, echo)})
    observer = await net.connect()
    seen: list[str] = []
    await observer.subscribe(">", lambda message: seen.append(message.subject))
    await observer.flush(deadline=soon())
    seen.clear()
    assert await rig.call("echo", "x") == "x"
    await server.connection.flush(deadline=soon())
    await observer.flush(deadline=soon())
    ours = [subject for subject in seen if subject.startswith(("trellis.", "_INBOX."))]
    requests = [subject for subject in ours if subject == subjects.rpc(net.name, "target")]
    # The flushes above are messages of the two connections to themselves.
    assert (len(requests), len(ours)) == (1, 4)


# Refusals, and sending again


async def test_nobody_there_fails_after_bounded_attempts(net: Lattice) -> None:
    rig = Rig(await net.invoker(retry=QUICK), Scripted({"echo": (ECHO, echo)}))
    with pytest.raises(Unavailable) as caught:
        await rig.call("echo", "x")
    assert not caught.value.maybe_executed
    assert "no responders" not in str(caught.value)
    assert caught.value.fields["target"] == "target"


async def test_a_target_that_appears_meanwhile_is_reached(net: Lattice) -> None:
    server, service = await net.host("NHOST"), Scripted({"echo": (ECHO, echo)})
    rig = Rig(await net.invoker(retry=RetryPolicy(attempts=1000, first=0.005, ceiling=0.005)), service)
    calling = asyncio.create_task(rig.call("echo", "x"))
    await net.serve(server, service)
    assert await calling == "x"


async def test_a_full_host_refuses_and_another_answers(net: Lattice) -> None:
    gate = Gate()
    full, free = Scripted({"work": (NOTHING, gate)}), Scripted({"work": (NOTHING, lambda call: asyncio.sleep(0))})
    one = await net.host("NONE")
    await net.serve(one, full, concurrency=1)
    rig = Rig(await net.invoker(retry=RetryPolicy(attempts=200, first=0.001, ceiling=0.001)), full)
    blocked = asyncio.create_task(rig.call("work"))
    await gate.entered.wait()
    await net.serve(await net.host("NTWO"), free, concurrency=100)
    await asyncio.gather(*(rig.call("work") for _ in range(20)))
    assert (len(full.calls), len(free.calls)) == (1, 20)
    gate.open.set()
    await blocked


async def test_a_full_target_is_overloaded_in_the_end(net: Lattice) -> None:
    gate = Gate()
    rig, _ = await net.rig({"work": (NOTHING, gate)}, concurrency=1)
    blocked = asyncio.create_task(rig.call("work"))
    await gate.entered.wait()
    with pytest.raises(Overloaded) as caught:
        await rig.call("work")
    assert not caught.value.fields.get("maybe_executed")
    gate.open.set()
    await blocked
    assert gate.running == 1


async def test_a_refusal_by_the_target_is_sent_again_one_from_further_on_is_not(net: Lattice) -> None:
    async def full(call: Call) -> None:
        raise Overloaded("full", component=call.args[0])

    rig, _ = await net.rig({"work": (FuncType((("who", STRING),)), full)})
    with pytest.raises(Overloaded) as caught:
        await rig.call("work", "target")
    assert len(rig.service.calls) == QUICK.attempts
    assert not caught.value.fields.get("maybe_executed")
    rig.service.calls.clear()
    with pytest.raises(Overloaded) as caught:
        await rig.call("work", "behind-it")
    assert len(rig.service.calls) == 1
    assert caught.value.fields["maybe_executed"]


async def test_only_an_idempotent_call_is_sent_again_after_it_may_have_run(net: Lattice) -> None:
    async def lose(call: Call) -> None:
        raise Unavailable("lost", maybe_executed=True)

    rig, _ = await net.rig({"work": (NOTHING, lose)})
    with pytest.raises(Unavailable):
        await rig.call("work")
    assert len(rig.service.calls) == 1
    with pytest.raises(Unavailable):
        await rig.call("work", idempotent=True)
    assert len(rig.service.calls) == 1 + QUICK.attempts


async def test_a_crash_of_the_service_is_a_failed_invocation(net: Lattice, caplog: pytest.LogCaptureFixture) -> None:
    async def crash(call: Call) -> None:
        raise ZeroDivisionError("by zero")

    rig, _ = await net.rig({"crash": (NOTHING, crash)})
    with pytest.raises(InvocationFailed, match="ZeroDivisionError: by zero") as caught:
        await rig.call("crash")
    assert caught.value.fields == {"component": "target", "trap": "ZeroDivisionError"}
    assert "a:b/c@1.0.0/crash of target failed" in caplog.text


async def test_a_result_of_the_wrong_type_is_the_targets_fault(net: Lattice) -> None:
    async def number(call: Call) -> int:
        return 5

    rig, _ = await net.rig({"wrong": (FuncType((), STRING), number)})
    with pytest.raises(PeerMisbehaved, match=r"a:b/c@1\.0\.0\.wrong of target: The result: expected string"):
        await rig.call("wrong")


async def test_values_that_no_host_would_take_are_refused_before_they_are_sent(net: Lattice) -> None:
    rig, _ = await net.rig({"echo": (FuncType((("all", ListType(STRING)),)), echo)})
    with pytest.raises(RequestInvalid) as caught:
        await rig.call("echo", ["x" * 1024 * 1024] * 17)
    assert caught.value.fields["limit"] == 16 * 1024 * 1024
    assert rig.service.calls == []


# Death


async def test_a_call_whose_host_dies_fails_as_maybe_executed(net: Lattice) -> None:
    gate = Gate()
    rig, _ = await net.rig({"work": (NOTHING, gate)})
    invoker = rig.invoker
    assert isinstance(invoker, LatticeInvoker)
    calling = asyncio.create_task(rig.call("work"))
    await gate.entered.wait()
    invoker.host_gone("NOTHER")
    await until(lambda: any(pending.host == "NHOST" for pending in invoker._pending))
    assert not calling.done()
    invoker.host_gone("NHOST")
    with pytest.raises(Unavailable) as caught:
        await calling
    assert caught.value.maybe_executed
    await gate.cancelled.wait()


async def test_a_call_that_a_dead_host_may_hold_does_not_wait_long(
    net: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trellis_lattice.invocation.client.ACCEPTED_IN_DOUBT", 0.01)
    monkeypatch.setattr("trellis_lattice.invocation.pending.ACCEPTED_IN_DOUBT", 0.01)
    frozen = await net.connect()
    taken = asyncio.Event()
    await frozen.subscribe(subjects.rpc(net.name, "target"), lambda message: taken.set())
    await frozen.flush(deadline=soon())
    rig = Rig(await net.invoker(retry=QUICK), Scripted({"echo": (ECHO, echo)}))
    before = asyncio.create_task(rig.call("echo", "x"))
    await taken.wait()
    rig.invoker.host_gone("NHOST")  # type: ignore[attr-defined]
    for calling in (before, rig.call("echo", "y")):
        with pytest.raises(Unavailable) as caught:
            await calling
        assert caught.value.maybe_executed


async def test_a_call_that_another_host_executes_outlives_a_death(
    net: Lattice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trellis_lattice.invocation.pending.ACCEPTED_IN_DOUBT", 0.01)
    gate = Gate()
    rig, _ = await net.rig({"work": (NOTHING, gate)})
    calling = asyncio.create_task(rig.call("work"))
    await until(lambda: any(pending.host for pending in rig.invoker._pending))  # type: ignore[attr-defined]
    rig.invoker.host_gone("NOTHER")  # type: ignore[attr-defined]
    gate.open.set()
    await calling


async def test_calls_of_a_target_whose_host_died_are_answered_by_the_next(net: Lattice) -> None:
    hints: list[None] = []
    rig, server = await net.rig({"echo": (ECHO, echo)}, retry=RetryPolicy(attempts=1, first=0.001, patience=60.0))
    rig.invoker.on_nobody = lambda: hints.append(None)  # type: ignore[attr-defined]
    assert await rig.call("echo", "before") == "before"
    await server.connection.aclose()
    await nobody_listens(await net.connect(), subjects.rpc(net.name, "target"))
    calling = [asyncio.create_task(rig.call("echo", str(n))) for n in range(20)]
    await until(lambda: len(hints) >= 20)
    assert not any(each.done() for each in calling)
    await net.serve(await net.host("NNEXT"), rig.service)
    assert await asyncio.gather(*calling) == [str(n) for n in range(20)]


async def test_a_target_that_does_not_come_back_is_not_waited_for_again(net: Lattice) -> None:
    rig, server = await net.rig({"echo": (ECHO, echo)}, retry=RetryPolicy(attempts=1, first=0.001, patience=0.02))
    assert await rig.call("echo", "before") == "before"
    await server.connection.aclose()
    await nobody_listens(await net.connect(), subjects.rpc(net.name, "target"))
    for known in (True, False):
        assert ("target" in rig.invoker._known) is known  # type: ignore[attr-defined]
        with pytest.raises(Unavailable) as caught:
            await rig.call("echo", "after")
        assert not caught.value.maybe_executed


async def test_who_is_no_host_learns_of_deaths_from_calls_that_find_nobody(net: Lattice) -> None:
    gate = Gate()
    service = Scripted({"work": (NOTHING, gate), "echo": (ECHO, echo)})
    server = await net.host("NHOST")
    await net.serve(server, service)
    beats = BeatPublisher(server.connection, net.name, "NHOST", 1, HostStatus)
    beats.start()
    async with open_invoker(await net.connect(), net.name) as invoker:
        rig = Rig(invoker, service)
        assert await rig.call("echo", "alive") == "alive"
        working = asyncio.create_task(rig.call("work", timeout=3600.0))
        await until(lambda: any(pending.host == "NHOST" for pending in invoker._pending))
        await server.connection.aclose()
        asking = asyncio.create_task(rig.call("echo", "still?", timeout=3600.0))
        with pytest.raises(Unavailable) as caught:
            await working
        assert (caught.value.maybe_executed, caught.value.fields["host"]) == (True, "NHOST")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await beats.aclose()


async def test_a_stream_whose_host_dies_fails(net: Lattice) -> None:
    async def handle(call: Call) -> HttpResponse:
        pipe = Pipe()
        pipe.write(b"first")
        return HttpResponse(200, [], pipe)

    rig, _ = await net.rig({"handle": (http.HANDLE_TYPE, handle)})
    response = await rig.call("handle", HttpRequest("GET", "/", None, None))
    assert await response.body.read(100) == b"first"
    rig.invoker.host_gone("NHOST")  # type: ignore[attr-defined]
    with pytest.raises(Unavailable) as caught:
        await response.body.read(100)
    assert caught.value.maybe_executed


async def test_a_stream_ends_with_the_deadline_of_its_call(net: Lattice) -> None:
    pipes: list[Pipe] = []

    async def handle(call: Call) -> HttpResponse:
        pipes.append(Pipe())
        pipes[-1].write(b"first")
        return HttpResponse(200, [], pipes[-1])

    rig, server = await net.rig({"handle": (http.HANDLE_TYPE, handle)})
    response = await rig.call("handle", HttpRequest("GET", "/", None, None), timeout=0.3)
    assert await response.body.read(100) == b"first"
    with pytest.raises(DeadlineExceeded):
        await response.body.read(100)
    while not pipes[0].reader_gone:
        await pipes[0].changed()
    unread = await rig.call("handle", HttpRequest("GET", "/", None, None), timeout=0.3)
    await until(lambda: not rig.invoker._hub.incoming and not server.hub.outgoing)  # type: ignore[attr-defined]
    assert unread.status == 200


async def test_a_writer_that_vanished_is_noticed_by_its_reader(net: Lattice) -> None:
    async def handle(call: Call) -> HttpResponse:
        pipe = Pipe()
        pipe.write(b"first")
        return HttpResponse(200, [], pipe)

    rig, server = await net.rig({"handle": (http.HANDLE_TYPE, handle)})
    response = await rig.call("handle", HttpRequest("GET", "/", None, None))
    await server.connection.aclose()
    assert await response.body.read(100) == b"first"
    with pytest.raises(Unavailable):
        await response.body.read(100)


@pytest.mark.parametrize("eager", [False, True])
async def test_when_nats_stops_calls_fail_at_once_and_work_again_after_it_is_back(tmp_path: Path, eager: bool) -> None:
    nats = await EmbeddedNats.start(NatsServerSettings(tmp_path))
    net = Lattice(nats.url, "default", eager)
    try:
        gate = Gate()
        rig, server = await net.rig({"work": (NOTHING, gate), "echo": (ECHO, echo)})
        caller = rig.invoker._connection  # type: ignore[attr-defined]
        calling = asyncio.create_task(rig.call("work"))
        await gate.entered.wait()
        await nats.stop()
        with pytest.raises(Unavailable) as caught:
            await calling
        assert caught.value.maybe_executed
        with pytest.raises(Unavailable) as caught:
            await rig.call("echo", "x")
        assert not caught.value.maybe_executed
        port = int(nats.url.rpartition(":")[2])
        nats = await EmbeddedNats.start(NatsServerSettings(tmp_path, port=port))
        await until(lambda: caller.connected and server.connection.connected)
        assert await rig.call("echo", "x") == "x"
    finally:
        await net.aclose()
        await nats.stop()


# Leaving


async def test_leaving_finishes_what_runs_and_loses_nothing(net: Lattice) -> None:
    gate = Gate()
    leaving, staying = Scripted({"work": (NOTHING, gate)}), Scripted({"work": (NOTHING, lambda call: asyncio.sleep(0))})
    one = await net.host("NONE")
    serving = await net.serve(one, leaving)
    rig = Rig(await net.invoker(retry=QUICK), leaving)
    running = asyncio.create_task(rig.call("work"))
    await gate.entered.wait()
    await net.serve(await net.host("NTWO"), staying)

    async def keep_calling() -> None:
        for _ in range(300):
            await rig.call("work")

    callers = asyncio.create_task(keep_calling())
    closing = asyncio.create_task(serving.aclose(grace=10.0))
    await until(lambda: not serving._subscriptions)
    gate.open.set()
    await closing
    await callers
    await running
    assert serving.in_flight == 0
    assert len(leaving.calls) + len(staying.calls) == 301


async def test_after_the_grace_period_what_runs_is_cancelled_and_says_so(net: Lattice) -> None:
    gate = Gate()
    rig, server = await net.rig({"work": (NOTHING, gate)})
    calling = asyncio.create_task(rig.call("work"))
    await gate.entered.wait()
    await server.aclose(grace=0.0)
    with pytest.raises(Unavailable) as caught:
        await calling
    assert caught.value.maybe_executed
    assert gate.cancelled.is_set()


# Resources

COUNTER = ResourceId("a:b/c", "counter")
COUNTER_FUNCTIONS: dict[str, FuncType] = {
    "[constructor]counter": FuncType((("start", Primitive.U32),), Own(COUNTER)),
    "[method]counter.next": FuncType((("self", Borrow(COUNTER)),), Primitive.U32),
    "[static]counter.finish": FuncType((("counter", Own(COUNTER)),), Primitive.U32),
}


class Counter:
    def __init__(self, value: int) -> None:
        self.value = value


async def _make(call: Call) -> Counter:
    return Counter(call.args[0])


async def _next(call: Call) -> int:
    call.args[0].value += 1
    return int(call.args[0].value)


async def _finish(call: Call) -> int:
    return int(call.args[0].value)


def counters() -> dict[str, Any]:
    return dict(
        zip(COUNTER_FUNCTIONS, zip(COUNTER_FUNCTIONS.values(), (_make, _next, _finish), strict=True), strict=True)
    )


async def counter_rig(net: Lattice, released: Callable[[Any], None] = lambda value: None) -> tuple[Rig, LatticeServer]:
    service = Scripted(counters())
    server = await net.host("NHOST", released=released)
    await net.serve(server, service)
    return Rig(await net.invoker(retry=QUICK), service), server


async def test_a_resource_is_used_by_its_handle_where_it_lives(net: Lattice) -> None:
    released: list[Any] = []
    rig, server = await counter_rig(net, released.append)
    other = await net.host("NOTHER")
    await net.serve(other, Scripted(counters()))
    handles = [await rig.call("[constructor]counter", 10 * number) for number in range(8)]
    assert {handle.owner.partition(".")[0] for handle in handles} <= {server.resources.server, other.resources.server}
    for number, handle in enumerate(handles):
        assert await rig.call("[method]counter.next", handle, instance=handle.owner) == 10 * number + 1
        assert await rig.call("[method]counter.next", handle, instance=handle.owner) == 10 * number + 2


async def test_dropped_handles_release_their_resources(net: Lattice) -> None:
    released: list[Any] = []
    rig, server = await counter_rig(net, released.append)
    handles = [await rig.call("[constructor]counter", number) for number in range(5)]
    assert len(server.resources) == 5
    for handle in handles[:3]:
        rig.invoker.drop(handle)  # type: ignore[attr-defined]
    rig.invoker.drop(Handle("", "a-name", "a:b/c.counter"))  # type: ignore[attr-defined]
    await until(lambda: len(released) == 3)
    assert sorted(counter.value for counter in released) == [0, 1, 2]
    with pytest.raises(Unavailable, match="The owner of a resource is gone"):
        await rig.call("[method]counter.next", handles[0], instance=handles[0].owner)
    assert await rig.call("[method]counter.next", handles[3], instance=handles[3].owner) == 4


async def test_an_owned_resource_moves(net: Lattice) -> None:
    rig, server = await counter_rig(net)
    handle = await rig.call("[constructor]counter", 7)
    assert await rig.call("[static]counter.finish", handle, instance=handle.owner) == 7
    assert len(server.resources) == 0


async def test_resources_die_with_the_deadline_of_the_call_that_made_them(net: Lattice) -> None:
    released: list[Any] = []
    rig, server = await counter_rig(net, released.append)
    await rig.call("[constructor]counter", 1, timeout=0.3)
    await until(lambda: len(released) == 1)
    assert len(server.resources) == 0


async def test_a_dead_owner_is_unavailable_and_not_asked_again(net: Lattice) -> None:
    rig, server = await counter_rig(net)
    handle = await rig.call("[constructor]counter", 1)
    await server.connection.aclose()
    await nobody_listens(await net.connect(), subjects.instance(net.name, handle.owner))
    with pytest.raises(Unavailable) as caught:
        await rig.call("[method]counter.next", handle, instance=handle.owner)
    assert caught.value.fields["reason"] == "owner-gone"


async def test_a_value_that_is_no_handle_does_not_leave_the_caller(net: Lattice) -> None:
    rig, _ = await counter_rig(net)
    with pytest.raises(RequestInvalid, match="do not cross the lattice"):
        await rig.call("[method]counter.next", Counter(1))


# Hostile peers


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        (None, b""),
        ({HEAD: "2 call 1000 a b c echo"}, b""),
        ({HEAD: "1 call 1000 a b c echo"}, b""),
        ({HEAD: "1 call 1000 a b c echo"}, cbor2.dumps(["a", "b"])),
        ({HEAD: "1 call 1000 a b c echo"}, cbor2.dumps({"text": "x"})),
        ({HEAD: "1 call 1000 a b c echo"}, b"\x81" * 10_000),
        ({HEAD: "1 call 1000 a b c echo parts"}, cbor2.dumps(5)),
        (
            {HEAD: "1 call 1000 a b c echo parts"},
            cbor2.dumps({"head": b"", "more": "wasmbus.ctl.v1.default.host.stop"}),
        ),
        ({HEAD: "1 call 1000 a b c echo parts"}, cbor2.dumps({"head": b"", "more": "_INBOX.x", "size": 1 << 40})),
    ],
)
async def test_a_malformed_request_is_answered_with_what_is_wrong(net: Lattice, headers: Any, payload: bytes) -> None:
    rig, _ = await net.rig({"echo": (ECHO, echo)})
    peer = await net.connect()
    answer = await peer.request(subjects.rpc(net.name, "target"), payload, headers=headers, deadline=soon())
    assert answer.headers == {HEAD: "1 error"}
    assert cbor2.loads(answer.data)["code"] == "request-invalid"
    assert rig.service.calls == []
    assert await rig.call("echo", "still here") == "still here"


async def answering(net: Lattice, answer: bytes, headers: dict[str, str] | None) -> Rig:
    """A rig whose target answers every request with the same message."""
    peer = await net.connect()
    pending: set[asyncio.Task[None]] = set()

    def on_message(message: Message) -> None:
        pending.add(asyncio.create_task(peer.publish(message.reply, answer, headers=headers)))

    await peer.subscribe(subjects.rpc(net.name, "target"), on_message)
    await peer.flush(deadline=soon())
    return Rig(await net.invoker(retry=QUICK), Scripted({"echo": (ECHO, echo)}))


@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        (b"", None),
        (b"x", {HEAD: "1 maybe"}),
        (b"", REPLY_OK),
        (cbor2.dumps(5), REPLY_OK),
        (cbor2.dumps("text"), {HEAD: "1 ok parts"}),
        (cbor2.dumps({"head": b"", "more": "a.b"}), {HEAD: "1 ok parts"}),
        (b"\xff", {HEAD: "1 error"}),
        (cbor2.dumps([]), {HEAD: "1 error"}),
        (cbor2.dumps({"code": "x"}), {HEAD: "1 error"}),
    ],
)
async def test_a_malformed_answer_is_misbehaviour(net: Lattice, answer: bytes, headers: Any) -> None:
    rig = await answering(net, answer, headers)
    with pytest.raises(PeerMisbehaved):
        await rig.call("echo", "x", timeout=5)


async def test_an_error_of_an_unknown_kind_is_still_an_error(net: Lattice) -> None:
    rig = await answering(net, cbor2.dumps({"code": "from-the-future", "message": "new"}), {HEAD: "1 error"})
    with pytest.raises(TrellisError, match="new"):
        await rig.call("echo", "x")


async def test_a_call_that_nobody_says_to_execute_counts_as_lost(net: Lattice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trellis_lattice.invocation.client.ACCEPTED_WITHIN", 0.05)
    silent = await net.connect()
    await silent.subscribe(subjects.rpc(net.name, "target"), lambda message: None)
    await silent.flush(deadline=soon())
    rig = Rig(await net.invoker(retry=QUICK), Scripted({"echo": (ECHO, echo)}))
    with pytest.raises(Unavailable) as caught:
        await rig.call("echo", "x")
    assert caught.value.maybe_executed
    with pytest.raises(DeadlineExceeded):
        await rig.call("echo", "x", timeout=0.01)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x7f\x00\x00\x00\x00",
        frames.data(1, b"out of order"),
        frames.credit(5),
        frames.data(0, bytes(frames.WINDOW + 1)),
        frames.end(0)[:-1],
        frames.end(0) + b"\xff",
    ],
    ids=["empty", "unknown", "gap", "credit", "too-much", "short", "trailers"],
)
async def test_frames_that_break_the_protocol_end_the_stream(net: Lattice, frame: bytes) -> None:
    peer = await net.connect()
    pending: set[asyncio.Task[None]] = set()

    def on_credit(message: Message) -> None:
        pending.add(asyncio.create_task(peer.publish(message.reply, frame)))

    writer = peer.inbox(on_credit)
    body = {"head": b"", "more": writer.subject, "host": "NX"}
    answer = cbor2.dumps({"ok": {"status": 200, "headers": [], "body": body}})
    rig = await answering(net, answer, REPLY_OK)
    rig.service.functions["handle"] = (http.HANDLE_TYPE, echo)
    response = await rig.call("handle", HttpRequest("GET", "/", None, None, [], BytesBody(b"")))
    with pytest.raises((PeerMisbehaved, Unavailable)):
        await response.body.read(100)


async def nobody_listens(observer: Connection, subject: str) -> None:
    """Waits until the NATS server has noticed that the last listener is gone."""
    nobody = asyncio.Event()
    inbox = observer.inbox(lambda message: nobody.set())
    async with asyncio.timeout(10):
        while not nobody.is_set():
            await observer.publish(subject, b"", reply=inbox.subject)
            await observer.flush(deadline=soon())
    inbox.close()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
